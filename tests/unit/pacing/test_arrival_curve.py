"""The curve tells what a simulated token bucket of any rate lacks, whatever was sent and refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.pacing.arrival_curve import ArrivalCurve, Moment

BEGIN_S = 1e6  # a monotonic clock begins anywhere

gaps = st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60)
rates = st.floats(0.2, 500.0)


def _short_of_full(starts_s: list[float], at_s: float, per_s: float) -> float:
    """What a bucket lacks at ``at_s``, having given a token at each start."""
    short, last_s = 0.0, 0.0
    for start_s in starts_s:
        short = max(0.0, short - per_s * (start_s - last_s)) + 1
        last_s = start_s
    return max(0.0, short - per_s * (at_s - last_s))


def _at(curve: ArrivalCurve, at_s: float) -> Moment:
    return curve.at(BEGIN_S + at_s, BEGIN_S + at_s)


def _times(gaps_s: list[float]) -> list[float]:
    times_s = [0.0]
    for gap_s in gaps_s:
        times_s.append(times_s[-1] + gap_s)
    return times_s[1:]


@given(gaps, rates, st.data())
def test_the_backlog_is_what_a_bucket_lacks(gaps_s: list[float], per_s: float, data: st.DataObject) -> None:
    curve, times_s = ArrivalCurve(BEGIN_S), _times([gap_s + 1e-4 for gap_s in gaps_s])
    for start_s in times_s:
        curve.start(BEGIN_S + start_s)
        curve.send(BEGIN_S + start_s, BEGIN_S + start_s)
    until = data.draw(st.integers(1, len(times_s)))
    curve.settle(BEGIN_S + data.draw(st.sampled_from([0.0, *times_s[:until]])))
    expected = _short_of_full(times_s[:until], times_s[until - 1], per_s)
    assert _at(curve, times_s[until - 1]).backlog(per_s) == pytest.approx(expected, abs=0.01)


@given(gaps, rates, st.data())
def test_attempts_that_are_taken_back_took_no_token(gaps_s: list[float], per_s: float, data: st.DataObject) -> None:
    """Points that they had pushed off the hull stay away, so that the backlog may be too low by as many."""
    times_s = _times([gap_s + 1e-4 for gap_s in gaps_s])
    refused = data.draw(st.sets(st.sampled_from(times_s), max_size=3))
    curve = ArrivalCurve(BEGIN_S)
    for start_s in times_s:
        curve.start(BEGIN_S + start_s)
        curve.send(BEGIN_S + start_s, BEGIN_S + start_s)
    settled_s = data.draw(st.sampled_from([0.0, *times_s]))
    curve.settle(BEGIN_S + settled_s)
    for start_s in refused:
        curve.take_back(BEGIN_S + start_s)
    off = sum(start_s <= settled_s for start_s in refused)
    accepted = [start_s for start_s in times_s if start_s not in refused]
    assert curve.started == len(accepted)
    expected = _short_of_full(accepted, times_s[-1], per_s)
    assert expected - off - 0.01 <= _at(curve, times_s[-1]).backlog(per_s) <= expected + 0.01


@given(gaps, st.lists(st.floats(0.0, 1.0), min_size=60, max_size=60), rates, st.data())
def test_an_attempt_counts_from_when_it_was_sent(
    gaps_s: list[float], late_s: list[float], per_s: float, data: st.DataObject
) -> None:
    """One process sends in the order of the starts; of the last ones it is not yet known."""
    curve, starts_s, sent_s = ArrivalCurve(BEGIN_S), _times([gap_s + 1e-4 for gap_s in gaps_s]), []
    for start_s, wait_s in zip(starts_s, late_s, strict=False):
        sent_s.append(max([start_s + wait_s, *(last_s + 1e-4 for last_s in sent_s[-1:])]))
        curve.start(BEGIN_S + start_s)
    known = data.draw(st.integers(1, len(starts_s)))
    for place in range(known):
        curve.send(BEGIN_S + starts_s[place], BEGIN_S + sent_s[place])
        if data.draw(st.booleans()):
            curve.settle(BEGIN_S + sent_s[place])
    last = known - 1
    expected = _short_of_full(sent_s[:known], sent_s[last], per_s)
    moment = curve.at(BEGIN_S + starts_s[last], BEGIN_S + sent_s[last])
    assert moment.backlog(per_s) == pytest.approx(expected, abs=0.01)
    assert curve.started == len(starts_s)


def test_of_another_process_it_is_told_later() -> None:
    """Until it is told when they were sent, attempts count as sent when they started."""
    curve = ArrivalCurve(0.0)
    for place in range(20):
        curve.start(place / 100)
        if place % 2:
            curve.send(place / 100, place / 100 + 0.002)
    assert curve.at(0.19, 0.192).backlog(10) == pytest.approx(20 - 10 * 0.192, abs=0.1)


def test_a_long_steady_run_has_few_corners() -> None:
    curve = ArrivalCurve(0.0)
    for number in range(100_000):
        curve.start(number / 640)
        curve.send(number / 640, number / 640 + (number * 7919 % 13) / 10_000)
        curve.settle(number / 640 - 0.1)
    assert len(curve._corners) < 100
    assert curve.at(100_000 / 640, 100_000 / 640).backlog(640) == pytest.approx(0, abs=2)
