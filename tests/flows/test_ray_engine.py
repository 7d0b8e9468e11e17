"""``--engine ray``: the same run from actors of a Ray cluster, also when a machine of it or the runner is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from phi3flow.workers.ray_processes import ray_processes
from tests.support.flows.foreign_flows import ASYNC_CLIENT, ECHO, write_flow, write_lines
from tests.support.folders.batch_project import KEY, BatchProject, wait_until
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

LINES = 60
RAY = ("--engine", "ray", "--workers", 2, "--concurrency", 8)


class TwoMachines:
    """A Ray cluster of this test's own: a head and one more node, with a CPU each, as processes of this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._second = self._cluster.add_node(num_cpus=1)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a command use it."""
        return {"RAY_ADDRESS": self._cluster.address}

    def kill_second(self) -> None:
        """Kill the second node and what runs on it, as a machine that loses its power."""
        self._cluster.remove_node(self._second, allow_graceful=False)

    def stop(self) -> None:
        """End every process of it."""
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Ray's files, in a folder whose path is short enough for its sockets. No process is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("TMPDIR", str(folder))  # an actor that is killed leaves its copy of the flow
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        before = set(psutil.Process().children(recursive=True))
        yield folder
        assert psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=30)[1] == []
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def machines(ray_folder: Path) -> Iterator[TwoMachines]:
    """Two nodes, for every test of the module; the last one kills one."""
    machines = TwoMachines()
    yield machines
    machines.stop()


@pytest.fixture
def project(tmp_path: Path) -> BatchProject:
    return BatchProject(tmp_path, lines=LINES)


def _run(tmp_path: Path) -> RunFolder:
    flow, data = write_flow(tmp_path / "flow", ECHO), write_lines(tmp_path / "lines.jsonl", [{"question": "q0"}])
    plan = RunPlan(load_flow(flow), data, tmp_path / "runs", name="run")
    return run_flow(plan, connections=dict, processes=ray_processes)


@pytest.mark.slow
def test_a_run_on_two_machines_equals_one_on_this(
    project: BatchProject, machines: TwoMachines, ray_folder: Path
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        ended = project.finish(endpoint, *RAY, environment=machines.environment)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["counts"] == {"total": LINES, "completed": LINES, "failed": 0, "retries": 0}
        assert len(endpoint.requests) == LINES
        on_ray, manifest = project.outcomes, project.run.manifest
        shutil.rmtree(project.runs_dir)
        assert project.finish(endpoint, "--workers", 2).returncode == 0
    assert on_ray == project.outcomes
    assert manifest.connections == project.run.manifest.connections
    assert manifest.flow_fingerprint == project.run.manifest.flow_fingerprint
    for folder in (project.folder, ray_folder):
        assert [file for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []


@pytest.mark.slow
def test_a_line_that_kills_its_actor_fails_alone(tmp_path: Path, machines: TwoMachines) -> None:
    code = ASYNC_CLIENT.replace("    headers", "    if question == 'q5': import os; os.abort()\n    headers")
    project = BatchProject(tmp_path, lines=20, code=code)
    with FaultEndpoint(lambda _: Reply(delay_s=0.05), key=KEY) as endpoint:
        ended = project.finish(endpoint, *RAY, environment=machines.environment)
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout)["counts"]["completed"] == 19  # and nothing of Ray's on stdout
    assert project.unanswered == [5]
    error = project.run.results()[5].error
    assert error is not None
    assert error.type == "WorkerDied"
    assert error.message == "the flow's process ended (in Ray: SYSTEM_ERROR) while it executed this line"


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_cpus_are_refused(project: BatchProject, machines: TwoMachines) -> None:
    with FaultEndpoint() as endpoint:
        ended = project.finish(endpoint, *RAY, "--workers", 3, environment=machines.environment)
    assert ended.returncode == 2
    assert "--workers 3: the Ray cluster has 2 CPUs" in ended.stderr


@pytest.mark.slow
def test_a_machine_that_dies_costs_no_line(project: BatchProject, machines: TwoMachines) -> None:
    seen, killed = itertools.count(), threading.Event()

    def answer(_: Request) -> Reply:
        """From a third of the lines on, what is in flight stays in flight until the machine has died."""
        return Reply(delay_s=0.1 if killed.is_set() or next(seen) < LINES // 3 else 4.0)

    with FaultEndpoint(answer, key=KEY) as endpoint:
        process = project.start(endpoint, *RAY, environment=machines.environment)
        wait_until(lambda: len(endpoint.requests) >= LINES // 3 + 8)
        machines.kill_second()
        killed.set()
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert LINES < len(endpoint.requests) <= LINES + 8
    counts = json.loads(stdout)["counts"]
    assert (counts["completed"], counts["failed"]) == (LINES, 0)
    assert 0 < counts["retries"] <= 8  # some were on their way to the actor, and never came to the endpoint
    assert project.unanswered == []


@pytest.mark.slow
def test_the_runner_is_killed_and_the_same_command_goes_on(project: BatchProject, ray_folder: Path) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.1), key=KEY) as endpoint:
        process = project.start(endpoint, *RAY)
        wait_until(lambda: len(endpoint.requests) >= LINES // 2)
        of_ray = psutil.Process(process.pid).children(recursive=True)
        actors = [each for each in of_ray if each.name().startswith("ray::FlowActor")]
        assert len(actors) == 2
        process.kill()
        process.communicate(timeout=60)
        ended = project.finish(endpoint, *RAY)
        assert psutil.wait_procs(actors, timeout=30)[1] == []
        assert ended.returncode == 0, ended.stderr
        assert LINES <= len(endpoint.requests) <= LINES + 8
    assert ended.counts == {"total": LINES, "completed": LINES, "failed": 0, "retries": 0}
    assert project.unanswered == []
    for each in of_ray:  # two of Ray's own agents take a minute to see that they are alone
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def test_without_the_extra_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'phi3flow\[ray\]'"):
        _run(tmp_path)


def test_a_ray_address_without_a_cluster_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="RAY_ADDRESS=127.0.0.1:1: there is no Ray cluster"):
        _run(tmp_path)
