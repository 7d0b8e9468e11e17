"""kill -9 at any moment: the same command finishes the run, and sends again no more than what was in flight."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess

import pytest

from tests.faults.conftest import MakeProject
from tests.support.flows.foreign_flows import ASYNC_CLIENT, SYNC_CLIENT
from tests.support.folders.batch_project import KEY, BatchProject
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

LINES = 500
CONCURRENCY = 8
ANSWER = Reply(delay_s=0.02)
VARIANTS = [
    pytest.param(ASYNC_CLIENT, 1, id="async tool"),
    pytest.param(ASYNC_CLIENT, 2, id="two workers"),
    pytest.param(SYNC_CLIENT, 1, id="sync tool"),
]


def test_runs_that_are_killed_and_resumed_equal_an_uninterrupted_one(make_project: MakeProject) -> None:
    _kill_runs(make_project(lines=LINES, code=ASYNC_CLIENT), kills=3, workers=1)


def test_a_run_that_was_killed_after_its_last_line_is_completed(make_project: MakeProject) -> None:
    project = make_project(lines=4)
    with FaultEndpoint(key=KEY) as endpoint:
        assert project.finish(endpoint).returncode == 0
        manifest = project.run.path / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"status": "Completed"', '"status": "Running"'))
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) == 4
    assert project.run.manifest.status == "Completed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "workers", "kills"), [(*p.values, n) for p, n in zip(VARIANTS, (100, 20, 20), strict=True)]
)
def test_a_hundred_runs_that_are_killed_and_resumed_equal_an_uninterrupted_one(
    make_project: MakeProject, code: str, workers: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = _kill_runs(make_project(lines=LINES, code=code), kills=kills, workers=workers)
    with capsys.disabled():
        figures = f"min {min(extra)}, median {statistics.median(extra):g}, max {max(extra)}"
        print(f"\n{kills} kills, {workers} workers: requests beyond {LINES}: {figures}")  # noqa: T201


def _kill_runs(project: BatchProject, *, kills: int, workers: int) -> list[int]:
    """Kill and resume so many runs, each once; return how many requests beyond its lines each took."""
    generator = random.Random(f"{kills} {workers}")
    flags = ("--concurrency", CONCURRENCY, "--workers", workers)
    with FaultEndpoint(lambda _: ANSWER, key=KEY) as endpoint:
        assert project.finish(endpoint, *flags).returncode == 0
    uninterrupted = project.outcomes
    extra = []
    for kill in range(kills):
        shutil.rmtree(project.runs_dir)
        at = generator.randint(1, LINES)
        requests = _kill_and_resume(project, flags, at=at, torn=generator.random() if kill % 3 == 0 else None)
        assert project.outcomes == uninterrupted, f"killed at request {at}"
        assert project.unanswered == []
        assert LINES <= requests <= LINES + CONCURRENCY, f"killed at request {at}"
        extra.append(requests - LINES)
    return extra


def _kill_and_resume(project: BatchProject, flags: tuple[object, ...], *, at: int, torn: float | None) -> int:
    """Kill a run as request number ``at`` comes in, tear its last line if told, resume it; return the requests."""
    process: subprocess.Popen[str] | None = None
    seen = 0

    def answer(_: Request) -> Reply:
        nonlocal seen
        seen += 1
        if seen == at and process is not None:
            process.kill()
        return ANSWER

    with FaultEndpoint(answer, key=KEY) as endpoint:
        process = project.start(endpoint, *flags)
        process.communicate(timeout=120)
        assert process.returncode == -9
        if torn is not None:
            _append_torn_line(project, torn)
        ended = project.finish(endpoint, *flags)
        assert ended.returncode == 0, ended.stderr
        assert ended.counts == {"total": LINES, "completed": LINES, "failed": 0, "retries": 0}
        assert project.run.manifest.status == "Completed"
        return len(endpoint.requests)


def _append_torn_line(project: BatchProject, part: float) -> None:
    with project.results_file.open("ab+") as file:
        file.seek(0)
        line = (file.readlines() or [b'{"line_number":0,"status":"Completed"}\n'])[-1]
        file.write(line[: 1 + int(part * (len(line) - 2))])
