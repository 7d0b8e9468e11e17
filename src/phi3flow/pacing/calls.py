"""Calls to an endpoint: paced, bounded and tried again as the batch runner does, in this process and for any result."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from phi3flow.errors import ConfigError
from phi3flow.pacing.endpoint_health import EndpointHealth, Fault, backoff_s
from phi3flow.pacing.failures import Failure, describe_failure
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pacer import Pacer
from phi3flow.pacing.start import Start

_MOST_IN_FLIGHT = 500

T = TypeVar("T")
R = TypeVar("R")


class EndpointCalls(Generic[T, R]):
    """Makes ``call(item)`` for every item as fast as the endpoint takes it, and hears what became of each.

    ``on_end`` is given the item and its result, or why it has none; ``tokens`` says what a result cost.
    ``requests_each`` is the most requests that one call makes: rpm counts requests.
    """

    def __init__(
        self,
        call: Callable[[T], Awaitable[R]],
        on_end: Callable[[T, R | Failure], None],
        *,
        limits: Limits,
        tokens: Callable[[R], int],
        requests_each: int = 1,
    ) -> None:
        if limits.rpm is not None and limits.rpm < requests_each:
            raise ConfigError(f"--rpm {limits.rpm:g}: one call makes up to {requests_each} requests: allow as many")
        self._call = call
        self._on_end = on_end
        self._limits = limits
        self._tokens = tokens
        self._pacer = Pacer(
            time.monotonic(),
            concurrency=limits.concurrency,
            most_in_flight=max(1, _MOST_IN_FLIGHT // requests_each),
            rpm=limits.rpm / requests_each if limits.rpm else None,
            tpm=limits.tpm,
        )
        self._new: list[T] = []
        self._again: list[tuple[float, int, T, int]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    async def run(self, items: Sequence[T]) -> None:
        """Call for every item. Raises EndpointError where the endpoint stays down, and what ``on_end`` raises."""
        self._new = list(reversed(items))
        self._health = EndpointHealth(self._pacer, self._limits, len(items))
        running: set[asyncio.Task[None]] = set()
        try:
            while self._error is None and (self._new or self._again or running):
                now = time.monotonic()
                wait_s = self._wait_s(now)
                if wait_s != 0.0:
                    await self._change(wait_s)
                    continue
                item, attempts = self._take(now)
                task = asyncio.create_task(self._attempt(item, attempts, self._pacer.start(now)))
                running.add(task)
                task.add_done_callback(running.discard)
                task.add_done_callback(lambda _: self._changed.set())
                await asyncio.sleep(0)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if self._error:
            raise self._error

    def _wait_s(self, now: float) -> float | None:
        """Return the seconds until a call may start, None where only a call's end can change that."""
        if self._health.is_down and self._pacer.in_flight:
            return None
        due_s = 0.0 if self._new else max(0.0, self._again[0][0] - now) if self._again else None
        if due_s is None:
            return None
        allowed_s = self._pacer.wait_s(now)
        return None if allowed_s is None else max(due_s, allowed_s)

    def _take(self, now: float) -> tuple[T, int]:
        if self._again and (self._again[0][0] <= now or not self._new):
            _, _, item, attempts = heapq.heappop(self._again)
            return item, attempts
        return self._new.pop(), 1

    async def _change(self, within_s: float | None) -> None:
        timer = asyncio.get_running_loop().call_later(within_s, self._changed.set) if within_s is not None else None
        await self._changed.wait()
        self._changed.clear()
        if timer:
            timer.cancel()

    async def _attempt(self, item: T, attempts: int, start: Start) -> None:
        self._pacer.send(start, time.monotonic())
        try:
            result = await self._call(item)
        except Exception as error:
            failure = describe_failure(error)
            if self._is_tried_again(item, attempts, start, failure, timed_out=isinstance(error, TimeoutError)):
                return
            outcome: R | Failure = failure
        else:
            outcome = result
            self._health.succeed(time.monotonic(), start, tokens=self._tokens(result))
        try:
            self._on_end(item, outcome)
        except Exception as error:
            self._error = self._error or error

    def _is_tried_again(self, item: T, attempts: int, start: Start, failure: Failure, *, timed_out: bool) -> bool:
        now, error = time.monotonic(), failure.error
        fault = Fault(error.message, error.status_code, failure.retryable, timed_out, failure.retry_after_s)
        down = self._health.fail(now, start, fault, is_last=not self._new)
        self._error = self._error or self._health.error
        when = now
        if not down:
            if not failure.retryable or not self._health.has_retry(attempts):
                return False
            self._health.retry()
            when, attempts = now + backoff_s(fault, attempts), attempts + 1
        heapq.heappush(self._again, (when, next(self._order), item, attempts))
        return True
