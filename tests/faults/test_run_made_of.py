"""A run is all that made it: after any single change the same command is refused, or it is another run; never both.

The changes are to whom the flow asks, what is served there, and the environment; tests/flows has the flow's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.conftest import MakeProject
from tests.support.folders.batch_project import KEY, BatchProject
from tests.support.servers.fault_endpoint import FaultEndpoint

LINES = 4
FLAGS = ("--concurrency", 2)


@dataclass
class World:
    """A project with two endpoints, the first of which its connection names, and which gives these ``refusals``."""

    project: BatchProject
    refusals: list[int]
    first: FaultEndpoint
    second: FaultEndpoint

    def point_at(self, endpoint: FaultEndpoint) -> None:
        """Let the connection name this endpoint, whatever the environment says."""
        self.change_connection("${env:ENDPOINT}", endpoint.url)

    def change_connection(self, old: str, new: str) -> None:
        file = self.project.folder / "connections" / "endpoint.yml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def set_environment(self, style: str) -> None:
        (self.project.folder / "run.yml").write_text(
            f"flow: flow\nenvironment_variables: {{STYLE: {style}}}\n", encoding="utf-8"
        )


Change = Callable[[World], None]
CHANGES: dict[str, tuple[Change, str]] = {
    "endpoint": (lambda world: world.point_at(world.second), "connection endpoint's endpoint was http://127.0.0.1:"),
    "path": (lambda world: world.change_connection("${env:ENDPOINT}", f"{world.first.url}/v2"), "/score/v2"),
    "query": (
        lambda world: world.change_connection("${env:ENDPOINT}", f"{world.first.url}?code=abcdef012345"),
        "connection endpoint's endpoint is another than it was",
    ),
    "model behind it": (lambda world: setattr(world.first, "serves", ["tuned"]), "model was base, is tuned"),
    "deployment": (
        lambda world: world.change_connection("configs:\n", "configs:\n  deployment: green\n"),
        "connection endpoint's deployment is another than it was",
    ),
    "environment": (lambda world: world.set_environment("long"), "the environment variable STYLE is another"),
}


@pytest.fixture
def world(make_project: MakeProject):
    project = make_project(lines=LINES)
    refusals: list[int] = []
    script = lambda _: refusals.pop() if refusals else None  # noqa: E731
    with FaultEndpoint(script, key=KEY, serves=["base"]) as first, FaultEndpoint(key=KEY, serves=["base"]) as second:
        made = World(project, refusals, first, second)
        made.set_environment("short")
        yield made


QUICK = {("endpoint", 0), ("model behind it", 2), ("environment", 2)}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        pytest.param(change, failed, marks=() if (change, failed) in QUICK else pytest.mark.slow)
        for change in CHANGES
        for failed in (0, 2)
    ],
)
def test_a_run_does_not_go_on_as_another(world: World, change: str, failed: int) -> None:
    apply, said = CHANGES[change]
    world.refusals += [400] * failed
    assert world.project.finish(world.first, *FLAGS, "--run", "run.yml").returncode == (1 if failed else 0)
    before, manifest = world.project.outcomes, _read(world.project.runs_dir / "run" / "manifest.json")
    apply(world)
    refused = world.project.finish(world.first, *FLAGS, "--run", "run.yml")
    assert refused.returncode == 2, refused.stderr
    assert said in " ".join(refused.stderr.split())
    assert "--fresh" in refused.stderr
    assert world.project.outcomes == before
    assert _read(world.project.runs_dir / "run" / "manifest.json") == manifest
    assert not world.second.requests
    again = world.project.finish(world.first, *FLAGS, "--run", "run.yml", "--fresh")
    assert again.returncode == 0, again.stderr
    assert all(outcome["attempts"] == 1 for outcome in world.project.outcomes)


@pytest.mark.parametrize(
    "change", [pytest.param(c, marks=() if c == "model behind it" else pytest.mark.slow) for c in CHANGES]
)
def test_the_cache_has_no_answer_of_another(world: World, change: str) -> None:
    file = world.project.flow / "flow.dag.yaml"
    text = file.read_text(encoding="utf-8")
    at_0 = text.replace("outputs:", "  temperature: {type: double, default: 0}\noutputs:", 1)
    file.write_text(at_0, encoding="utf-8")
    command = (*FLAGS, "--run", "run.yml", "--cache", "--fresh")
    for requests in (LINES, LINES):
        assert world.project.finish(world.first, *command).returncode == 0
        assert len(world.first.requests) == requests
    CHANGES[change][0](world)
    assert world.project.finish(world.first, *command).returncode == 0
    assert len(world.first.requests) + len(world.second.requests) == 2 * LINES


def test_what_cannot_be_told_is_said(world: World) -> None:
    file = world.project.flow / "flow.dag.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("outputs:", "  temperature: {type: double, default: 0}\noutputs:", 1), encoding="utf-8"
    )
    world.first.serves = None
    assert "which model" not in world.project.finish(world.first, *FLAGS, "--cache").stderr
    cached = world.project.finish(world.first, *FLAGS, "--cache", "--fresh")
    assert "4 lines were answered from the cache" in " ".join(cached.stderr.split())
    assert "endpoint does not say which model it serves" in " ".join(cached.stderr.split())


def test_the_same_weights_at_another_address_are_the_same_model(world: World) -> None:
    """phi3flow's own server, started again, listens elsewhere."""
    for endpoint in (world.first, world.second):
        endpoint.serves = [{"id": "tuned", "fingerprint": "0123456789abcdef"}]
    world.refusals += [400]
    assert world.project.finish(world.first, *FLAGS).returncode == 1
    world.point_at(world.second)
    assert world.project.finish(world.first, *FLAGS).returncode == 0
    assert len(world.second.requests) == 1
    world.second.serves = [{"id": "tuned", "fingerprint": "another"}]
    assert world.project.finish(world.first, *FLAGS).returncode == 2


def test_another_key_or_order_of_lines_is_no_other_run(world: World) -> None:
    """Keys are renewed, and what an endpoint that lists no models serves is not known."""
    assert world.project.finish(world.first, *FLAGS).returncode == 0
    world.change_connection("secrets:\n", "secrets:\n  other: 0123456789abcdef\n")
    world.first.serves = None
    assert world.project.finish(world.first, *FLAGS).returncode == 0
    assert _read(world.project.runs_dir / "run" / "manifest.json")["connections"]["endpoint"]["serves"] == "base"
    world.first.serves = ["base", "another"]
    assert world.project.finish(world.first, *FLAGS).returncode == 0
    assert len(world.first.requests) == LINES


def _read(path: Path):
    return json.loads(path.read_bytes())
