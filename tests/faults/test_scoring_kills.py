"""kill -9 while a judge scores: the same command goes on, and pays again for no more than what was in flight."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

from tests.support.folders.batch_project import KEY
from tests.support.folders.scoring_project import ScoringProject
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

LINES = 120
CONCURRENCY = 6
VERDICT = Reply(delay_s=0.01)


def test_scorings_that_are_killed_and_resumed_equal_an_uninterrupted_one(tmp_path: Path) -> None:
    _kill_scorings(ScoringProject(tmp_path / "project", lines=LINES), kills=2, repeats=1)


@pytest.mark.slow
def test_each_judgement_of_a_line_that_is_judged_repeatedly_is_kept(tmp_path: Path) -> None:
    _kill_scorings(ScoringProject(tmp_path / "project", lines=LINES // 3), kills=1, repeats=3)


@pytest.mark.slow
def test_twenty_scorings_that_are_killed_and_resumed_equal_an_uninterrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = _kill_scorings(ScoringProject(tmp_path / "one", lines=LINES), kills=14, repeats=1)
    extra += _kill_scorings(ScoringProject(tmp_path / "three", lines=LINES // 3), kills=6, repeats=3)
    with capsys.disabled():
        figures = f"min {min(extra)}, median {statistics.median(extra):g}, max {max(extra)}"
        print(f"\n{len(extra)} kills: requests beyond {LINES}: {figures}")  # noqa: T201


def _kill_scorings(project: ScoringProject, *, kills: int, repeats: int) -> list[int]:
    """Kill and resume so many scorings, each once; return how many requests beyond its executions each took."""
    generator = random.Random(f"{kills} {repeats}")
    flags = ("--concurrency", CONCURRENCY, "--judge-repeats", repeats)
    with FaultEndpoint(lambda _: VERDICT, key=KEY) as endpoint:
        assert project.finish(endpoint, *flags).returncode == 0
    uninterrupted, extra = project.scored, []
    for kill in range(kills):
        shutil.rmtree(project.run.path / "scores")
        at = generator.randint(1, LINES)
        requests = _kill_and_resume(project, flags, at=at, torn=generator.random() if kill % 2 == 0 else None)
        assert project.scored == uninterrupted, f"killed at request {at}"
        assert LINES <= requests <= LINES + CONCURRENCY, f"killed at request {at}"
        extra.append(requests - LINES)
    return extra


def _kill_and_resume(project: ScoringProject, flags: tuple[object, ...], *, at: int, torn: float | None) -> int:
    """Kill a scoring as request number ``at`` comes in, tear the last line if told, resume; return the requests."""
    process: subprocess.Popen[str] | None = None
    seen = 0

    def answer(_: Request) -> Reply:
        nonlocal seen
        seen += 1
        if seen == at and process is not None:
            process.kill()
        return VERDICT

    with FaultEndpoint(answer, key=KEY) as endpoint:
        process = project.start(endpoint, *flags)
        process.communicate(timeout=120)
        assert process.returncode == -9
        assert project.run.evaluations() == []
        if torn is not None:
            with project.executions.open("ab+") as file:
                file.seek(0)
                line = file.readlines()[-1]
                file.write(line[: 1 + int(torn * (len(line) - 2))])
        ended = project.finish(endpoint, *flags)
        assert ended.returncode == 0, ended.stderr
        return len(endpoint.requests)
