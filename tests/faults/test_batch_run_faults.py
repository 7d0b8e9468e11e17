"""Lines that are refused, break or hang among others that do not; and a second writer."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeProject
from tests.support.flows.foreign_flows import SYNC_CLIENT
from tests.support.folders.batch_project import KEY, wait_until
from tests.support.servers.fault_endpoint import Attempts, FaultEndpoint, Reply, Scripted

HANG = Reply(fault="hang")
MIXED_LINES = 1000
MIXED_TIMEOUT_S = 3
SYNC_HANG = "import time\n" + SYNC_CLIENT.replace(
    "    headers =", "    if question == 'q3':\n        time.sleep(60)\n    headers ="
)


def test_faults_of_some_lines_cost_little_time_and_no_other_line(make_project: MakeProject) -> None:
    """5 % get a 400, 5 % a 503 once, 2 % hang once; at the same time as a run of the same lines where nothing fails."""
    project, clean = make_project(lines=MIXED_LINES), make_project(lines=MIXED_LINES)
    answer = Reply(delay_s=0.3)
    faults: dict[str, list[Scripted | None]] = {}
    for number in range(MIXED_LINES):
        if number % 20 == 3:
            faults[f"q{number}"] = [400]
        elif number % 20 == 11:
            faults[f"q{number}"] = [503, None]
        elif number % 50 == 26:
            faults[f"q{number}"] = [HANG, None]
    flags = ("--concurrency", 64, "--timeout-s", MIXED_TIMEOUT_S)
    with (
        FaultEndpoint(lambda _: answer, key=KEY) as sound,
        FaultEndpoint(Attempts(faults, otherwise=answer), key=KEY) as faulty,
    ):
        beside = clean.start(sound, *flags)
        ended = project.finish(faulty, *flags)
        beside.communicate(timeout=600)
        assert len(faulty.requests) == MIXED_LINES + 50 + 20
    assert beside.returncode == 0
    assert ended.returncode == 1, ended.stderr
    assert ended.counts == {"total": MIXED_LINES, "completed": MIXED_LINES - 50, "failed": 50, "retries": 70}
    assert project.unanswered == [number for number in range(MIXED_LINES) if number % 20 == 3]
    assert project.run.manifest.status == "Completed"
    assert project.run.manifest.duration_s <= 1.5 * clean.run.manifest.duration_s + MIXED_TIMEOUT_S


def test_a_synchronous_tool_that_hangs_fails_its_line_and_does_not_hold_the_process(make_project: MakeProject) -> None:
    project = make_project(lines=20, code=SYNC_HANG)
    with FaultEndpoint(key=KEY) as endpoint:
        ended = project.finish(endpoint, "--timeout-s", 1, "--max-retries", 0)
    assert ended.returncode == 1, ended.stderr
    assert ended.counts == {"total": 20, "completed": 19, "failed": 1, "retries": 0}
    [failed] = [result for result in project.run.results() if result.status == "Failed"]
    assert (failed.line_number, failed.attempts) == (3, 1)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("TimeoutError", "no answer within 1 s")
    assert 1000 <= failed.latency_ms < 60_000
    assert ended.lag_s < 20  # the tool sleeps for 60 s


def test_an_asynchronous_tool_that_hangs_is_cancelled_and_its_line_tried_again(make_project: MakeProject) -> None:
    project = make_project(lines=40)
    script = Attempts({"q0": [HANG, None]}, otherwise=Reply(delay_s=0.4))
    with FaultEndpoint(script, key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", 4, "--timeout-s", 1)
        wait_until(lambda: endpoint.given_up != [])
        assert process.poll() is None, "the connection is closed by the run, not by its end"
        assert [request.question for request in endpoint.given_up] == ["q0"]
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert len(endpoint.given_up) == 1
        assert len(endpoint.requests) == 41
    assert project.unanswered == []
    assert project.run.results()[0].attempts == 2


def test_a_second_writer_is_refused_and_the_first_is_undisturbed(make_project: MakeProject) -> None:
    project = make_project(lines=40)
    with FaultEndpoint(lambda _: Reply(delay_s=0.5), key=KEY) as endpoint:
        first = project.start(endpoint, "--concurrency", 4)
        wait_until(lambda: len(endpoint.requests) >= 1)
        second = project.finish(endpoint)
        assert second.returncode == 2
        assert "is being written by another process" in second.stderr
        first.communicate(timeout=120)
        assert first.returncode == 0
        assert len(endpoint.requests) == 40


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_few_lines_of_an_endpoint_that_is_not_there_fail_and_not_the_command(
    make_project: MakeProject, workers: int
) -> None:
    project = make_project(lines=2)
    with FaultEndpoint() as endpoint, endpoint.down():
        ended = project.finish(endpoint, "--max-retries", 1, "--workers", workers)
    assert ended.returncode == 1
    assert ended.counts == {"total": 2, "completed": 0, "failed": 2, "retries": 2}
    assert {result.error and result.error.type for result in project.run.results()} == {"ClientConnectorError"}
    assert KEY not in ended.stdout + ended.stderr
