"""The answers that --cache keeps: at once, for several runs, whatever ends them; and a file that is damaged."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from phi3flow.project.paths import ANSWERS_FILE
from tests.faults.conftest import MakeProject
from tests.support.folders.batch_project import KEY, BatchProject, wait_until
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply

LINES, CONCURRENCY = 60, 4
FLAGS = ("--cache", "--concurrency", CONCURRENCY)


@pytest.fixture
def project(make_project: MakeProject) -> BatchProject:
    """A flow at temperature 0."""
    project = make_project(lines=LINES)
    file = project.flow / "flow.dag.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("outputs:", "  temperature: {type: double, default: 0}\noutputs:", 1), encoding="utf-8"
    )
    return project


def _kept(project: BatchProject) -> int:
    with sqlite3.connect(project.folder / ANSWERS_FILE) as database:
        return int(database.execute("select count(*) from answers").fetchone()[0])


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP))],
    ids=lambda number: number.name,
)
def test_what_was_answered_before_the_end_is_not_paid_again(project: BatchProject, number: signal.Signals) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.05), key=KEY) as endpoint:
        process = project.start(endpoint, *FLAGS)
        wait_until(lambda: len(endpoint.requests) >= LINES // 2)
        process.send_signal(number)
        process.communicate(timeout=60)
        before = len(endpoint.requests)
        assert before - CONCURRENCY <= _kept(project) <= before < LINES
        kept = _kept(project)
        again = project.finish(endpoint, *FLAGS, "--fresh")
        assert again.returncode == 0, again.stderr
        assert len(endpoint.requests) == before + LINES - kept
    assert project.unanswered == []


def test_two_runs_share_it(project: BatchProject) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.05), key=KEY) as endpoint:
        processes = [project.start(endpoint, *FLAGS, "--name", name) for name in ("first", "second")]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        assert _kept(project) == LINES


def test_another_environment_is_answered_anew(project: BatchProject) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        for style, requests in (("short", LINES), ("short", LINES), ("long", 2 * LINES)):
            run_file = f"flow: flow\nenvironment_variables: {{STYLE: {style}}}\n"
            (project.folder / "run.yml").write_text(run_file, encoding="utf-8")
            ended = project.finish(endpoint, *FLAGS, "--fresh", "--run", "run.yml")
            assert ended.returncode == 0, ended.stderr
            assert len(endpoint.requests) == requests


@pytest.mark.parametrize("content", [b"no database at all, but some text that is long enough to be one", b""])
def test_a_file_that_is_none_is_named_and_nothing_else_is_lost(project: BatchProject, content: bytes) -> None:
    file = project.folder / ANSWERS_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with FaultEndpoint(key=KEY) as endpoint:
        ended = project.finish(endpoint, *FLAGS)
        assert ended.returncode == (2 if content else 0)
        assert "Traceback" not in ended.stderr
        if content:
            assert f"{ANSWERS_FILE}: the cache cannot be opened" in ended.stderr
            assert "delete it, or leave out --cache" in ended.stderr


def test_a_page_that_is_damaged_is_named(project: BatchProject) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        assert project.finish(endpoint, *FLAGS).returncode == 0
        file = project.folder / ANSWERS_FILE
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)
        ended = project.finish(endpoint, *FLAGS, "--fresh")
        assert ended.returncode == 2, ended.stdout
        assert "the cache cannot be" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_that_it_keeps_nothing_is_said(make_project: MakeProject) -> None:
    project = make_project(lines=3)
    with FaultEndpoint(key=KEY) as endpoint:
        ended = project.finish(endpoint, "--cache")
    assert ended.returncode == 0
    assert "--cache kept nothing: the flow names no temperature" in ended.stderr
    assert Path(project.folder / ANSWERS_FILE).is_file()
