"""The dispatcher: what is attempted when, alone, again, or not at all, whatever makes the attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from phi3flow.errors import EndpointError
from phi3flow.pacing.dispatcher import Dispatcher
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pace import Unpaced
from phi3flow.pacing.start import Start
from phi3flow.records.lines import LineError

REFUSED = Failure(LineError(type="Refused", message="refused", status_code=500), retryable=True)
WRONG = Failure(LineError(type="Wrong", message="wrong", status_code=400), retryable=False)


@dataclass(frozen=True)
class Item:
    name: str
    attempts: int = 1

    def again(self) -> Item:
        return replace(self, attempts=self.attempts + 1)


class Items:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.may_end = True

    @property
    def is_exhausted(self) -> bool:
        return self.may_end and not self.names

    async def take(self) -> Item | None:
        return Item(self.names.pop(0)) if self.names else None


class Attempts:
    """Ends each attempt in the next turn of the loop, as ``end`` says: a failure, or None for an answer."""

    def __init__(self, dispatcher: Dispatcher[Item], end: Callable[[Item], Failure | None]) -> None:
        self.is_ready = True
        self.in_flight: list[str] = []
        self.began: list[tuple[str, int, tuple[str, ...]]] = []
        self.ended: dict[str, Failure | None] = {}
        self._dispatcher = dispatcher
        self._end = end

    def send(self, attempt: Item, start: Start) -> None:
        self.began.append((attempt.name, attempt.attempts, tuple(self.in_flight)))
        self.in_flight.append(attempt.name)
        asyncio.get_running_loop().call_later(0.001, self._finish, attempt, start)

    def _finish(self, attempt: Item, start: Start) -> None:
        self.in_flight.remove(attempt.name)
        failure = self._end(attempt)
        if failure is None:
            self._dispatcher.succeed(start, tokens=0)
        elif self._dispatcher.fail(attempt, start, failure):
            return
        self.ended[attempt.name] = failure


def _dispatcher(items: int, *, at_once: int = 2, **limits: float) -> Dispatcher[Item]:
    return Dispatcher(Unpaced(at_once), Limits(**limits), items)  # type: ignore[arg-type]


def _answered(_: Item) -> None:
    return None


def test_each_item_ends_once_and_no_more_are_in_flight_than_may_be() -> None:
    dispatcher, items = _dispatcher(20, at_once=3), Items([str(n) for n in range(20)])
    attempts = Attempts(dispatcher, _answered)
    asyncio.run(dispatcher.run(items, attempts))
    assert [name for name, _, _ in attempts.began] == [str(n) for n in range(20)]
    assert max(len(beside) for _, _, beside in attempts.began) == 2
    assert set(attempts.ended) == {str(n) for n in range(20)}


def test_a_failure_that_may_pass_is_tried_again_and_counted_another_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phi3flow.pacing.dispatcher.backoff_s", lambda failure, attempts: 0.002)
    dispatcher = _dispatcher(3, max_retries=2)
    attempts = Attempts(dispatcher, lambda item: {"a": REFUSED, "b": WRONG}.get(item.name))
    asyncio.run(dispatcher.run(Items("abc"), attempts))
    tried = [(name, count) for name, count, _ in attempts.began]
    assert sorted(tried) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)]
    assert attempts.ended == {"a": REFUSED, "b": WRONG, "c": None}


def test_what_has_to_be_alone_waits_for_the_others_and_they_for_it() -> None:
    dispatcher, items = _dispatcher(6, at_once=4), Items("abcdef")
    attempts = Attempts(dispatcher, _answered)

    async def run() -> None:
        running = asyncio.create_task(dispatcher.run(items, attempts))
        await asyncio.sleep(0)
        dispatcher.attempt_alone(Item("x", 2))
        dispatcher.attempt_alone(Item("y", 2))
        await running

    asyncio.run(run())
    beside = {name: others for name, _, others in attempts.began}
    assert beside["x"] == beside["y"] == ()
    assert not any("x" in others or "y" in others for others in beside.values())
    assert set(attempts.ended) == set("abcdefxy")


def test_a_source_that_gives_more_later_is_waited_for_until_it_is_exhausted() -> None:
    dispatcher, items = _dispatcher(3), Items("a")
    items.may_end = False
    attempts = Attempts(dispatcher, _answered)

    async def run() -> None:
        running = asyncio.create_task(dispatcher.run(items, attempts))
        await asyncio.sleep(0.01)
        assert not running.done()
        items.names += ["b", "c"]
        items.may_end = True
        dispatcher.wake()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())
    assert list(attempts.ended) == ["a", "b", "c"]


def test_nothing_is_sent_while_the_sender_is_not_ready() -> None:
    dispatcher, items = _dispatcher(2), Items("ab")
    attempts = Attempts(dispatcher, _answered)
    attempts.is_ready = False

    async def run() -> None:
        running = asyncio.create_task(dispatcher.run(items, attempts))
        await asyncio.sleep(0.01)
        assert attempts.began == []
        attempts.is_ready = True
        dispatcher.wake()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())
    assert list(attempts.ended) == ["a", "b"]


def test_what_is_lost_with_its_sender_is_tried_again_only_where_that_is_wanted() -> None:
    dispatcher = _dispatcher(2, max_retries=1)

    async def run() -> list[bool]:
        start = dispatcher._pace.start(0.0), dispatcher._pace.start(0.0), dispatcher._pace.start(0.0)
        said = [
            dispatcher.lose(Item("a"), start[0], retry=True),
            dispatcher.lose(Item("a", 2), start[1], retry=True),
            dispatcher.lose(Item("b"), start[2], retry=False),
        ]
        assert dispatcher._pace.in_flight == 0
        return said

    assert asyncio.run(run()) == [True, False, False]


def test_a_stop_starts_nothing_more_and_what_is_in_flight_is_given_time() -> None:
    dispatcher, items = _dispatcher(9), Items("abcdefghi")
    attempts = Attempts(dispatcher, _answered)

    async def run() -> None:
        running = asyncio.create_task(dispatcher.run(items, attempts))
        await asyncio.sleep(0)
        dispatcher.stop()
        await asyncio.wait_for(running, 5)
        assert attempts.in_flight
        await dispatcher.drain(5.0)

    asyncio.run(run())
    assert attempts.in_flight == []
    assert 0 < len(attempts.began) < 9


def test_an_error_that_is_told_ends_the_run() -> None:
    dispatcher, items = _dispatcher(1), Items("a")
    items.may_end = False
    attempts = Attempts(dispatcher, _answered)

    async def run() -> None:
        running = asyncio.create_task(dispatcher.run(items, attempts))
        await asyncio.sleep(0.005)
        dispatcher.give_up(OSError("the disk is full"))
        await asyncio.wait_for(running, 5)

    with pytest.raises(OSError, match="the disk is full"):
        asyncio.run(run())


def test_an_endpoint_that_stays_down_is_given_up() -> None:
    down = Failure(LineError(type="ConnectionError", message="no route"), retryable=True)
    dispatcher, items = _dispatcher(60, at_once=30, outage_s=0.2), Items([str(n) for n in range(60)])
    with pytest.raises(EndpointError, match="has not answered for .* s \\(no route\\); what was done is kept"):
        asyncio.run(asyncio.wait_for(dispatcher.run(items, Attempts(dispatcher, lambda _: down)), 30))
