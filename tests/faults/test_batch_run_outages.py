"""An endpoint that is down for a while: waited for where it comes back in time, given up where it does not."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from phi3flow.errors import EndpointError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.faults.conftest import MakeProject
from tests.support.flows.foreign_flows import ASYNC_CLIENT, connection
from tests.support.folders.batch_project import KEY, BatchProject, wait_until
from tests.support.run_options import run_options
from tests.support.servers.fault_endpoint import Attempts, FaultEndpoint, Reply, Request

LINES = 300
CONCURRENCY = 8
ANSWER = Reply(delay_s=0.05)
IN_A_ROW = 20
"""Failures in a row after which an endpoint counts as down."""
COUNTED = ASYNC_CLIENT.replace(
    "    headers =", "    with open('../attempts', 'a') as file:\n        file.write('.')\n    headers ="
)


def _attempts(project: BatchProject) -> int:
    return (project.folder / "attempts").stat().st_size


@pytest.mark.parametrize("down_s", [0.5, pytest.param(5.0, marks=pytest.mark.slow)])
def test_an_endpoint_that_comes_back_costs_no_line_and_few_attempts(make_project: MakeProject, down_s: float) -> None:
    project = make_project(lines=LINES, code=COUNTED)
    with FaultEndpoint(lambda _: ANSWER, key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", CONCURRENCY)
        wait_until(lambda: len(endpoint.requests) >= LINES / 3)
        with endpoint.down():
            time.sleep(down_s)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert len(endpoint.requests) <= LINES + CONCURRENCY
    assert project.unanswered == []
    probes = 1 + int(down_s)  # they come 1, 2, 4 … s after each other
    assert _attempts(project) <= LINES + IN_A_ROW + 3 * CONCURRENCY + probes


class Burst:
    """A script: 503 to everything for ``seconds`` from request number ``start`` on."""

    def __init__(self, start: int, seconds: float) -> None:
        self._numbers = itertools.count(1)
        self._start, self._seconds = start, seconds
        self._until = 0.0

    def __call__(self, request: Request) -> Reply:
        if next(self._numbers) == self._start:
            self._until = request.time + self._seconds
        return Reply(503) if request.time < self._until else ANSWER


@pytest.mark.slow
def test_a_burst_of_503_is_waited_out_and_the_run_then_is_as_fast_as_before(make_project: MakeProject) -> None:
    project = make_project(lines=LINES)
    with FaultEndpoint(lambda _: ANSWER, key=KEY) as endpoint:
        assert project.finish(endpoint, "--concurrency", CONCURRENCY).returncode == 0
    clean_s = project.run.manifest.duration_s
    with FaultEndpoint(Burst(LINES // 3, 4.0), key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", CONCURRENCY, "--fresh")
        sent = len(endpoint.requests)
    assert ended.returncode == 0, ended.stderr
    assert project.unanswered == []
    assert sent <= LINES + IN_A_ROW + 3 * CONCURRENCY + 3
    pauses_s = 1 + 2 + 4  # the last one begins while it is down
    assert project.run.manifest.duration_s <= 2 * clean_s + pauses_s


@pytest.mark.slow
def test_lines_that_always_fail_are_no_outage_where_nothing_else_is_left(make_project: MakeProject) -> None:
    """Some scoring scripts answer 500 to what they cannot take: those lines fail, and the run ends."""
    project = make_project(lines=40)
    bad = [3, 9, 15, 21, 27, 33, 39]
    with FaultEndpoint(Attempts({f"q{number}": [500] for number in bad}), key=KEY) as endpoint:
        run = _run(project, endpoint, outage_s=15.0)
    assert [result.line_number for result in run.results() if result.status == "Failed"] == bad
    assert project.unanswered == bad
    assert run.manifest.status == "Completed"


def test_an_endpoint_that_stays_down_ends_the_run_which_can_go_on(make_project: MakeProject) -> None:
    project = make_project(lines=LINES, code=COUNTED)
    outage_s = 3.0
    with FaultEndpoint(lambda _: ANSWER, key=KEY) as endpoint:
        thread = threading.Thread(target=_take_down_for_good, args=(endpoint,))
        thread.start()
        with pytest.raises(EndpointError, match=r"has not answered for \d+ s .*give the same command again") as caught:
            _run(project, endpoint, outage_s)
        thread.join()
        assert caught.value.exit_code == 3
        assert "Cannot connect to host" in str(caught.value)
        kept = project.run.manifest.counts
        assert kept.failed == 0
        assert project.run.manifest.status == "Failed"
        assert LINES / 3 - CONCURRENCY <= kept.completed < LINES
        assert _attempts(project) <= kept.completed + IN_A_ROW + 3 * CONCURRENCY + 1 + outage_s
    with FaultEndpoint(key=KEY, port=endpoint.port) as endpoint:
        assert _run(project, endpoint, outage_s).manifest.status == "Completed"
        assert len(endpoint.requests) == LINES - kept.completed
    assert project.unanswered == []


def _take_down_for_good(endpoint: FaultEndpoint) -> None:
    wait_until(lambda: len(endpoint.requests) >= LINES / 3)
    with endpoint.down():
        time.sleep(8)


def _run(project: BatchProject, endpoint: FaultEndpoint, outage_s: float) -> RunFolder:
    plan = RunPlan(
        load_flow(project.flow),
        project.data,
        project.runs_dir,
        name="run",
        options=run_options(concurrency=CONCURRENCY, outage_s=outage_s),
    )
    return run_flow(plan, connections=lambda _: connection(endpoint.url, KEY))
