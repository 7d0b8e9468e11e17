"""The circuit breaker: when a run takes its endpoint to be down, and how it comes back."""

from __future__ import annotations

from phi3flow.pacing.outage import Outage


def _broken(failures: int) -> tuple[Outage, list[float | None]]:
    outage = Outage()
    return outage, [outage.fail(float(number)) for number in range(failures)]


def test_it_opens_after_20_failures_in_a_row_and_not_before() -> None:
    outage, pauses = _broken(19)
    assert pauses == [None] * 19
    assert not outage.is_open
    assert outage.fail(19.0) == 1.0
    assert outage.since == 0.0


def test_a_success_in_between_starts_the_count_again() -> None:
    outage, _ = _broken(19)
    outage.succeed()
    assert [outage.fail(20.0) for _ in range(19)] == [None] * 19
    assert not outage.is_open


def test_each_attempt_that_fails_doubles_the_pause_up_to_30_s() -> None:
    outage, _ = _broken(20)
    now, pauses = 19.0 + 1.0, []
    for _ in range(7):
        pause_s = outage.fail(now)
        assert pause_s is not None
        pauses.append(pause_s)
        now += pause_s
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_attempts_that_were_in_flight_when_it_opened_do_not_lengthen_the_pause() -> None:
    outage, _ = _broken(20)
    assert [outage.fail(19.5) for _ in range(50)] == [None] * 50
    assert outage.fail(20.1) == 2.0


def test_the_first_success_closes_it() -> None:
    outage, _ = _broken(25)
    assert outage.is_open
    outage.succeed()
    assert not outage.is_open
    assert outage.fail(30.0) is None
