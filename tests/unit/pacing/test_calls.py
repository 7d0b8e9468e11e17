"""Calls to an endpoint: bounded, tried again, given up; what became of each is heard once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from phi3flow.errors import EndpointError
from phi3flow.pacing.calls import EndpointCalls
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import Limits

Call = Callable[[int], Awaitable[str]]


class _Refused(Exception):
    def __init__(self, status: int | None, retry_after_s: float | None = None) -> None:
        super().__init__(f"refused with {status}")
        self.status_code = status
        self.retry_after_s = retry_after_s


def _run(call: Call, items: Sequence[int], **options: Any) -> dict[int, str | Failure]:
    heard: dict[int, str | Failure] = {}

    def on_end(item: int, outcome: str | Failure) -> None:
        assert item not in heard
        heard[item] = outcome

    async def run() -> None:
        settings = {"concurrency": 4, **options}
        await EndpointCalls(call, on_end, limits=Limits(**settings), tokens=len).run(items)

    asyncio.run(run())
    return heard


def test_every_call_is_made_with_no_more_in_flight_than_allowed() -> None:
    in_flight, most = 0, 0

    async def call(item: int) -> str:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.005)
        in_flight -= 1
        return f"done {item}"

    assert _run(call, range(30), concurrency=3) == {item: f"done {item}" for item in range(30)}
    assert most <= 3


def test_what_may_succeed_later_is_tried_again_and_the_rest_fails_at_once() -> None:
    tries: Counter[int] = Counter()

    async def call(item: int) -> str:
        tries[item] += 1
        if item == 0 and tries[0] < 3:
            raise _Refused(429, retry_after_s=0.001)
        if item == 1:
            raise _Refused(400)
        if item == 2:
            raise _Refused(503, retry_after_s=0.001)
        return "done"

    heard = _run(call, range(5), max_retries=2)
    assert [heard[0], heard[3], heard[4]] == ["done"] * 3
    assert tries == {0: 3, 1: 1, 2: 3, 3: 1, 4: 1}
    for item, status in ((1, 400), (2, 503)):
        failure = heard[item]
        assert isinstance(failure, Failure)
        assert failure.error.status_code == status


def test_an_endpoint_that_asks_for_more_time_than_there_is_ends_it() -> None:
    async def call(item: int) -> str:
        raise _Refused(429, retry_after_s=3600)

    with pytest.raises(EndpointError, match="asks to come back in 3600 s"):
        _run(call, range(3))


def test_an_outage_that_passes_is_waited_for() -> None:
    refusals = iter(range(20))

    async def call(item: int) -> str:
        if next(refusals, None) is not None:
            raise ConnectionError("nobody listens")
        return "done"

    assert set(_run(call, range(40)).values()) == {"done"}


def test_an_error_of_who_listens_is_raised() -> None:
    async def call(item: int) -> str:
        return "done"

    def on_end(item: int, outcome: str | Failure) -> None:
        raise ValueError("a disk that is full")

    async def run() -> None:
        await EndpointCalls(call, on_end, limits=Limits(concurrency=2), tokens=len).run([1, 2, 3])

    with pytest.raises(ValueError, match="a disk that is full"):
        asyncio.run(run())
