"""Calls to an endpoint: paced, bounded and tried again as the batch runner does, in this process and for any result."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from phi3flow.errors import ConfigError, EndpointError
from phi3flow.failures import Failure, describe_failure
from phi3flow.runner.options import RunOptions
from phi3flow.runner.outage import Outage
from phi3flow.runner.pacing import Pacer
from phi3flow.runner.start import Start

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_RETRIES_BEYOND_CALLS = 100
_MOST_IN_FLIGHT = 500
_FIRST_ANSWER_S = 120.0  # an address that is wrong shows sooner than an outage that passes

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
        options: RunOptions,
        tokens: Callable[[R], int],
        requests_each: int = 1,
    ) -> None:
        if options.rpm is not None and options.rpm < requests_each:
            raise ConfigError(f"--rpm {options.rpm:g}: one call makes up to {requests_each} requests: allow as many")
        self._call = call
        self._on_end = on_end
        self._options = options
        self._tokens = tokens
        self._pacer = Pacer(
            time.monotonic(),
            concurrency=options.concurrency,
            most_in_flight=max(1, _MOST_IN_FLIGHT // requests_each),
            rpm=options.rpm / requests_each if options.rpm else None,
            tpm=options.tpm,
        )
        self._outage = Outage()
        self._answered = False
        self._new: list[T] = []
        self._again: list[tuple[float, int, T, int]] = []
        self._order = itertools.count()
        self._retries_left = 0
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    async def run(self, items: Sequence[T]) -> None:
        """Call for every item. Raises EndpointError where the endpoint stays down, and what ``on_end`` raises."""
        self._new = list(reversed(items))
        self._retries_left = len(items) + _RETRIES_BEYOND_CALLS
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
        if self._outage.is_open and self._pacer.in_flight:
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
            outcome: R | Failure = failure
            again_at = self._fail(failure, attempts, start, timed_out=isinstance(error, TimeoutError))
            if again_at is not None:
                when, attempts = again_at
                heapq.heappush(self._again, (when, next(self._order), item, attempts))
                return
        else:
            outcome = result
            self._outage.succeed()
            self._answered = True
            self._pacer.succeed(time.monotonic(), start, tokens=self._tokens(result))
        try:
            self._on_end(item, outcome)
        except Exception as error:
            self._error = self._error or error

    def _fail(self, failure: Failure, attempts: int, start: Start, *, timed_out: bool) -> tuple[float, int] | None:
        """Tell the pacer; return when to try again, as which attempt, or None where it is over."""
        now = time.monotonic()
        down = self._is_down(now, failure, timed_out=timed_out)
        status, retry_after_s = failure.error.status_code, failure.retry_after_s
        if not down and failure.retryable and (status in (424, 429, 503) or retry_after_s is not None):
            explicit = status == 429 or retry_after_s is not None
            self._pacer.refuse(now, start, retry_after_s=retry_after_s, explicit=explicit)
        else:
            self._pacer.fail(start)
            self._pacer.pause(now, for_s=retry_after_s or 0.0)
        if retry_after_s is not None and retry_after_s > self._options.outage_s:
            self._give_up(f"the endpoint asks to come back in {retry_after_s:.0f} s ({failure.error.message})")
        if down:
            return now, attempts
        if not failure.retryable or attempts > self._options.max_retries or self._retries_left == 0:
            return None
        self._retries_left -= 1
        # Exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015), Retry-After first.
        backoff_s = random.uniform(0.0, min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (attempts - 1)))
        return now + (backoff_s if retry_after_s is None else retry_after_s), attempts + 1

    def _is_down(self, now: float, failure: Failure, *, timed_out: bool) -> bool:
        """Whether the endpoint is down, so that this attempt does not count against its item."""
        status = failure.error.status_code
        unreachable = status in (502, 503, 504) or (status is None and not timed_out)
        if not failure.retryable or status == 429 or not (unreachable or self._new or not self._answered):
            self._outage.succeed()
            return False
        pause_s = self._outage.fail(now)
        if pause_s is not None:
            self._pacer.pause(now, for_s=pause_s)
        since = self._outage.since
        patience_s = self._options.outage_s if self._answered else min(self._options.outage_s, _FIRST_ANSWER_S)
        if since is not None and now - since > patience_s:
            self._give_up(f"the endpoint has not answered for {now - since:.0f} s ({failure.error.message})")
        return since is not None

    def _give_up(self, reason: str) -> None:
        self._error = self._error or EndpointError(f"{reason}; give the same command again once it answers")
