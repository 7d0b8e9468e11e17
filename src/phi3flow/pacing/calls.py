"""Calls to an endpoint from this process: dispatched like any other attempts, for any result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from phi3flow.errors import ConfigError
from phi3flow.pacing.dispatcher import Dispatcher
from phi3flow.pacing.failures import Failure, describe_failure
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pacer import Pacer
from phi3flow.pacing.start import Start
from phi3flow.pacing.tuning import MOST_IN_FLIGHT

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Call(Generic[T]):
    item: T
    attempts: int = 1

    def again(self) -> Self:
        return replace(self, attempts=self.attempts + 1)


class _Calls(Generic[T]):
    """The first calls, in the order of their items."""

    def __init__(self, items: Iterable[T]) -> None:
        self.is_exhausted = False
        self._items = iter(items)

    async def take(self) -> _Call[T] | None:
        for item in self._items:
            return _Call(item)
        self.is_exhausted = True
        return None


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
        self._call = call
        self._on_end = on_end
        self._limits = limits
        self._tokens = tokens
        self._pacer = endpoint_pacer(limits, requests_each=requests_each)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, items: Sequence[T]) -> None:
        """Call for every item. Raises EndpointError where the endpoint stays down, and what ``on_end`` raises."""
        self._dispatcher = Dispatcher[_Call[T]](self._pacer, self._limits, len(items))
        try:
            await self._dispatcher.run(_Calls(items), self)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    @property
    def is_ready(self) -> bool:
        """See Sender."""
        return True

    def send(self, attempt: _Call[T], start: Start) -> None:
        """See Sender."""
        task = asyncio.create_task(self._attempt(attempt, start))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _attempt(self, attempt: _Call[T], start: Start) -> None:
        self._dispatcher.sent(start, time.monotonic())
        try:
            result = await self._call(attempt.item)
        except Exception as error:
            failure = describe_failure(error)
            if self._dispatcher.fail(attempt, start, failure):
                return
            outcome: R | Failure = failure
        else:
            outcome = result
            self._dispatcher.succeed(start, tokens=self._tokens(result))
        try:
            self._on_end(attempt.item, outcome)
        except Exception as error:
            self._dispatcher.give_up(error)


def endpoint_pacer(limits: Limits, *, requests_each: int = 1, most_per_s: float | None = None) -> Pacer:
    """Return a pacer that keeps ``limits`` where an attempt makes at most ``requests_each`` requests.

    ``most_per_s`` is a rate of attempts known not to be worth exceeding. Raises ConfigError where rpm does not allow
    one attempt a minute.
    """
    if limits.rpm is not None and limits.rpm < requests_each:
        raise ConfigError(f"--rpm {limits.rpm:g}: one call makes up to {requests_each} requests: allow as many")
    return Pacer(
        time.monotonic(),
        concurrency=limits.concurrency,
        most_in_flight=max(1, MOST_IN_FLIGHT // requests_each),
        rpm=limits.rpm / requests_each if limits.rpm else None,
        tpm=limits.tpm,
        most_per_s=most_per_s,
    )
