"""The poll loop: it looks until it may stop, and waits as long as the service asks, else ever longer up to a bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from phi3flow.azure import polling
from phi3flow.azure.polling import Waits, poll

WAITS = Waits(first_s=1.0, longest_s=4.0, growth=2.0)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited each time, in seconds, by a clock of its own."""
    waits_s: list[float] = []
    monkeypatch.setattr(polling.time, "sleep", waits_s.append)
    return waits_s


def looks(*answers: tuple[str, float | None]) -> Callable[[], tuple[str, float | None]]:
    answered = iter(answers)
    return lambda: next(answered)


def test_what_has_ended_is_not_waited_for(waited: list[float]) -> None:
    assert poll(looks(("done", 30.0)), until="done".__eq__, waits=WAITS) == "done"
    assert waited == []


def test_the_waits_grow_up_to_the_longest(waited: list[float]) -> None:
    answers = [("busy", None)] * 5 + [("done", None)]
    assert poll(looks(*answers), until="done".__eq__, waits=WAITS) == "done"
    assert waited == [1.0, 2.0, 4.0, 4.0, 4.0]


def test_the_service_decides_where_it_asks(waited: list[float]) -> None:
    poll(looks(("busy", 0.5), ("busy", 9.0), ("done", None)), until="done".__eq__, waits=WAITS)
    assert waited == [0.5, 9.0]


def test_the_last_of_the_most_looks_is_returned(waited: list[float]) -> None:
    answers = [("busy", None), ("still busy", None), ("done", None)]
    assert poll(looks(*answers), until="done".__eq__, waits=WAITS, most_looks=2) == "still busy"
    assert waited == [1.0]
