"""How fast a batch run sends where the endpoint limits it: a token bucket, and Retry-After. Counted on its side."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

import pytest

from tests.faults.conftest import MakeProject
from tests.support.folders.batch_project import KEY
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request, TokenBucket

RATE = 200.0
BURST = 50
ANSWER = Reply(delay_s=0.05)
HELD_S = 1.0


@dataclass(frozen=True)
class Pace:
    """What the bucket saw of a run. ``of_rate``: the share of its rate that was used; ``refused``: of the requests."""

    of_rate: float
    refused: float


def _run_against_bucket(make_project: MakeProject, *, lines: int, concurrency: str, retry_after: str | None) -> Pace:
    project = make_project(lines=lines)
    bucket = TokenBucket(RATE, BURST, retry_after=retry_after, accepted=ANSWER)
    with FaultEndpoint(bucket, key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", concurrency)
        times = [request.time for request in endpoint.requests]
    assert ended.returncode == 0, ended.stderr
    assert ended.counts["completed"] == lines
    assert project.unanswered == []
    assert len(times) == lines + bucket.refused
    seconds = times[-1] - times[0]
    # The tokens that were there at the start are no part of the rate.
    return Pace((lines - BURST) / seconds / RATE, bucket.refused / len(times))


BUCKETS = [
    pytest.param(concurrency, retry_after, id=f"{concurrency}, Retry-After {retry_after}")
    for concurrency in ("auto", "64")
    for retry_after in ("1", None)
]


def test_a_short_run_meets_a_rate_limit_with_few_refusals(make_project: MakeProject) -> None:
    """Beside the long run's 5 %, as many refusals as 64 in flight can meet at once are no surprise."""
    pace = _run_against_bucket(make_project, lines=600, concurrency="auto", retry_after="1")
    assert pace.refused <= 0.05 + 64 / 600


@pytest.mark.slow
@pytest.mark.parametrize(("concurrency", "retry_after"), BUCKETS)
def test_a_run_keeps_to_a_rate_limit_and_uses_it(
    make_project: MakeProject, concurrency: str, retry_after: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    pace = _run_against_bucket(make_project, lines=5000, concurrency=concurrency, retry_after=retry_after)
    with capsys.disabled():
        print(f"\n--concurrency {concurrency}, Retry-After {retry_after}: {pace}")  # noqa: T201
    assert pace.of_rate >= 0.9
    assert pace.refused <= 0.05


@pytest.mark.parametrize(("form", "workers"), [("seconds", 2), pytest.param("an HTTP date", 1, marks=pytest.mark.slow)])
def test_after_a_429_nothing_is_sent_until_retry_after_is_over(
    make_project: MakeProject, form: str, workers: int
) -> None:
    """The last of 8 in flight is refused; the others are answered later, which frees their places."""
    concurrency, refused_at, until = 8, 0.0, 0.0
    seen = 0

    def answer(_: Request) -> Reply | None:
        nonlocal seen, refused_at, until
        seen += 1
        if seen != concurrency:
            return Reply(delay_s=HELD_S) if seen < concurrency else None
        refused_at, now = time.monotonic(), time.time()
        resume = now + 2 if form == "seconds" else float(int(now) + 3)
        until = refused_at + resume - now
        return Reply(
            429, headers={"Retry-After": "2" if form == "seconds" else email.utils.formatdate(resume, usegmt=True)}
        )

    project = make_project(lines=40)
    with FaultEndpoint(answer, key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", concurrency, "--workers", workers)
        requests = endpoint.requests
    assert ended.counts == {"total": 40, "completed": 40, "failed": 0, "retries": 1}
    assert requests[0].time + HELD_S > refused_at, "all 8 were in flight"
    assert requests[concurrency].time >= until
