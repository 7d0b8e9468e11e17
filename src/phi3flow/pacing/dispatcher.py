"""The dispatcher of attempts: which item is attempted when, and which again.

A batch run, scoring, judging and early stopping differ in what they ask, and where; not in how they pace, try again,
wait for an endpoint that is down, or give up. What an attempt is, a ``Sender`` knows; what there is to attempt, a
``Source``.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import deque
from typing import Generic, Protocol, Self, TypeVar

from phi3flow.pacing.endpoint_health import EndpointHealth, backoff_s
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pace import Pace
from phi3flow.pacing.start import Start
from phi3flow.pacing.tuning import MOST_WAITING_FOR_RETRY


class Attempt(Protocol):
    """An item, and how often it is attempted."""

    @property
    def attempts(self) -> int:
        """How often the item was attempted, this attempt included."""

    def again(self) -> Self:
        """Return the item's next attempt."""


A = TypeVar("A", bound=Attempt)
A_co = TypeVar("A_co", bound=Attempt, covariant=True)
A_contra = TypeVar("A_contra", bound=Attempt, contravariant=True)


class Source(Protocol[A_co]):
    """Gives what is to be attempted."""

    @property
    def is_exhausted(self) -> bool:
        """Whether no more will come, but for what waits for an attempt that is in flight."""

    async def take(self) -> A_co | None:
        """Return the next first attempt that can be made now, None where there is none.

        Where that changes while nothing is in flight, ``Dispatcher.wake`` has to be called.
        """


class Sender(Protocol[A_contra]):
    """Makes attempts, and tells the dispatcher how each ended: ``succeed``, ``fail``, or one of its own verdicts."""

    @property
    def is_ready(self) -> bool:
        """Whether it can make one now; where that changes, ``Dispatcher.wake`` has to be called."""

    def send(self, attempt: A_contra, start: Start) -> None:
        """Begin an attempt, and return."""


class Dispatcher(Generic[A]):
    """Lets attempts start as ``pace`` allows: new ones, those to be tried again, and those that have to be alone.

    ``items`` may be attempted, each with ``limits.max_retries`` retries. It runs in one event loop.
    """

    def __init__(self, pace: Pace, limits: Limits, items: int) -> None:
        self._pace = pace
        self._health = EndpointHealth(pace, limits, items)
        self._source: Source[A] | None = None
        self._again: list[tuple[float, int, A]] = []
        self._order = itertools.count()
        self._alone: deque[A] = deque()
        self._is_one_alone = False
        self._changed = asyncio.Event()
        self._stopped = False
        self._error: Exception | None = None

    async def run(self, source: Source[A], sender: Sender[A]) -> None:
        """Make attempts until none is left or in flight, or until it is stopped; what is in flight then goes on.

        Raises EndpointError where the endpoint stays down, and what ``give_up`` was told.
        """
        self._source = source
        waiting: A | None = None
        while not self._stopped and self._error is None:
            now = time.monotonic()
            waiting = waiting or self._due(now)
            if waiting is None and len(self._again) < MOST_WAITING_FOR_RETRY:
                waiting = await source.take()
            if not self._pace.in_flight:
                self._start_alone(now, sender)
            if waiting is None and self._is_done(source):
                return
            wait_s = self._wait_s(now, waiting, sender)
            if waiting and wait_s == 0.0:
                sender.send(waiting, self._pace.start(now))
                waiting = None
                await asyncio.sleep(0)
            else:
                await self._change(wait_s)
        if self._error:
            raise self._error

    async def drain(self, within_s: float) -> None:
        """Give what is in flight so many seconds to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._pace.in_flight and self._error is None:
                    await self._change(None)
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        self.wake()

    def give_up(self, error: Exception) -> None:
        """Let ``run`` raise this."""
        self._error = self._error or error
        self.wake()

    def wake(self) -> None:
        """Look again at what can be attempted."""
        self._changed.set()

    def sent(self, start: Start, sent_s: float) -> None:
        """Take note when an attempt went out, where that is known."""
        self._pace.send(start, sent_s)

    def succeed(self, start: Start, *, tokens: int) -> None:
        """Take note of an answer that cost ``tokens``."""
        self._health.succeed(time.monotonic(), start, tokens=tokens)
        self.wake()

    def fail(self, attempt: A, start: Start, failure: Failure) -> bool:
        """Take note of an attempt without an answer; say whether the item will be attempted again."""
        now = time.monotonic()
        is_last = self._source is not None and self._source.is_exhausted
        down = self._health.fail(now, start, failure, is_last=is_last)
        self._error = self._error or self._health.error
        self.wake()
        if down:
            self._attempt_at(now, attempt)
            return True
        return failure.retryable and self._retry_at(now + backoff_s(failure, attempt.attempts), attempt)

    def lose(self, attempt: A, start: Start, *, retry: bool) -> bool:
        """Take note that an attempt ended for reasons of its sender; say whether the item will be attempted again."""
        self._pace.fail(start)
        self.wake()
        return retry and self._retry_at(time.monotonic(), attempt)

    def attempt_alone(self, attempt: A) -> None:
        """Make an attempt while nothing else is in flight."""
        self._alone.append(attempt)
        self.wake()

    @property
    def waits_for(self) -> str | None:
        """What a person should know where nothing starts."""
        if self._health.is_down:
            return "the endpoint, which gives no answer"
        paused_s = self._pace.paused_s(time.monotonic())
        return f"the endpoint, which asks for {paused_s:.0f} s" if paused_s > 1.0 else None

    def _start_alone(self, now: float, sender: Sender[A]) -> None:
        self._is_one_alone = bool(self._alone) and sender.is_ready
        if self._is_one_alone:
            sender.send(self._alone.popleft(), self._pace.start(now))

    def _is_done(self, source: Source[A]) -> bool:
        return source.is_exhausted and not (self._again or self._alone or self._pace.in_flight)

    def _due(self, now: float) -> A | None:
        return heapq.heappop(self._again)[2] if self._again and self._again[0][0] <= now else None

    def _wait_s(self, now: float, waiting: A | None, sender: Sender[A]) -> float | None:
        """Return the seconds until something may be done, None where only an attempt's end can change that."""
        if waiting is None:
            return max(0.0, self._again[0][0] - now) if self._again else None
        if self._alone or self._is_one_alone or not sender.is_ready or (self._health.is_down and self._pace.in_flight):
            return None
        return self._pace.wait_s(now)

    async def _change(self, within_s: float | None) -> None:
        timer = asyncio.get_running_loop().call_later(within_s, self.wake) if within_s is not None else None
        await self._changed.wait()
        self._changed.clear()
        if timer:
            timer.cancel()

    def _retry_at(self, when: float, attempt: A) -> bool:
        """Have an item attempted again, where it has a retry left."""
        if not self._health.has_retry(attempt.attempts):
            return False
        self._health.retry()
        self._attempt_at(when, attempt.again())
        return True

    def _attempt_at(self, when: float, attempt: A) -> None:
        heapq.heappush(self._again, (when, next(self._order), attempt))
        self.wake()
