"""A test that may be stopped at any unit keeps its level, and saves units where there is much to find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi3flow.stats import ALPHA, SequentialTest, anytime_p
from phi3flow.stats.estimates import Floats

SIMULATIONS = 4_000
units = st.lists(
    st.integers(1, 5).flatmap(lambda lines: st.tuples(st.floats(-lines, lines), st.just(lines))),
    min_size=1,
    max_size=60,
)


def binary_differences(rng: np.random.Generator, rows: int, n: int, effect: float) -> Floats:
    """Differences of two 0/1 scores that differ on three lines in ten."""
    drawn = rng.random((rows, n))
    wins = (0.3 + effect) / 2
    return (drawn < wins).astype(float) - ((drawn >= wins) & (drawn < 0.3))


def _normal_differences(rng: np.random.Generator, rows: int, n: int, effect: float) -> Floats:
    return np.clip(rng.normal(effect, 0.3, (rows, n)), -1, 1)


def _rare_losses(rng: np.random.Generator, rows: int, n: int, effect: float) -> Floats:
    """One line in twenty loses 0.95, all others win 0.05."""
    return np.where(rng.random((rows, n)) < 0.05, -0.95, 0.05) + effect


def _decided(units: Floats, capacity: float) -> Floats:
    """Return after how many units each sequence is decided; nan where it never is."""
    decided = anytime_p(units, capacity=capacity) <= ALPHA
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.nan)


def _sizes(rng: np.random.Generator, longest: int, lines: int) -> list[int]:
    sizes = list[int]()
    while sum(sizes) < lines:
        sizes.append(min(int(rng.integers(1, longest + 1)), lines - sum(sizes)))
    return sizes


def _totals(rng: np.random.Generator, sizes: list[int], effect: float) -> Floats:
    """The totals of conversations whose lines are independent, in random order."""
    differences = binary_differences(rng, 1, sum(sizes), effect)[0]
    return np.add.reduceat(differences, np.cumsum([0, *sizes[:-1]]))


def _fed(values: list[tuple[float, int]]) -> SequentialTest:
    test = SequentialTest(lines=sum(lines for _, lines in values), longest=max(lines for _, lines in values))
    for total, lines in values:
        test.add(total, lines)
    return test


@given(units)
def test_one_by_one_and_all_at_once_give_the_same_p(values: list[tuple[float, int]]) -> None:
    test, longest = _fed(values), max(lines for _, lines in values)
    lines = sum(lines for _, lines in values)
    scaled = np.array([total for total, _ in values]) / longest
    assert test.p == pytest.approx(anytime_p(scaled, capacity=lines / longest)[-1])
    assert test.mean == pytest.approx(sum(total for total, _ in values) / lines)


@given(units)
@example([(1.0, 1)])
@example([(-1.0, 1), (-1.0, 1)])
@example([(3.0, 40), (1.0, 1)])
def test_the_interval_is_of_the_mean_over_lines_and_excludes_zero_just_where_zero_is_refuted(
    values: list[tuple[float, int]],
) -> None:
    test = _fed(values)
    low, high = test.interval()
    assert -1 <= low <= test.mean + 1e-9
    assert test.mean - 1e-9 <= high <= 1
    if abs(test.p - ALPHA) > 1e-6:
        assert (low > 0 or high < 0) == (test.p < ALPHA)


def test_a_smaller_level_has_a_wider_interval() -> None:
    test = _fed([(0.3, 1)] * 60)
    (low, high), (lower, higher) = test.interval(0.05), test.interval(0.01)
    assert lower < low < 0.3 < high < higher


def test_totals_out_of_bounds_are_refused() -> None:
    test = SequentialTest(lines=10, longest=3)
    with pytest.raises(ValueError, match="the total of 2 differences between -1 and 1 is not 2.5"):
        test.add(2.5, 2)
    test.add((100.00000000000004 - 0.0) / 100, 1)


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("differences", [binary_differences, _normal_differences, _rare_losses])
def test_it_cries_wolf_in_at_most_five_percent_of_all_runs(
    differences: Callable[[np.random.Generator, int, int, float], Floats], n: int
) -> None:
    rng, rows = np.random.default_rng(0), 500
    wrong = sum(int(np.isfinite(_decided(differences(rng, rows, n, 0.0), n)).sum()) for _ in range(SIMULATIONS // rows))
    assert wrong / SIMULATIONS <= 0.05


def test_nor_where_long_conversations_win_what_short_ones_lose() -> None:
    """The mean over lines is 0; that over conversations is not, so that stakes by length would find a difference."""
    rng, wrong, runs, lines = np.random.default_rng(4), 0, 1_000, np.array([2, 18])
    for _ in range(runs):
        sizes = rng.choice(lines, 120)
        means = np.where(sizes == 18, 0.1, -0.9)
        shares = np.clip(means + rng.uniform(-0.1, 0.1, 120), -1, 1)
        units = shares * sizes / 18
        wrong += bool((anytime_p(units, capacity=sizes.sum() / 18) <= ALPHA).any())
    assert wrong / runs <= 0.05


def test_a_large_difference_is_decided_after_few_of_300_lines_and_a_small_one_is_not() -> None:
    rng = np.random.default_rng(1)
    large = _decided(binary_differences(rng, 500, 300, 0.2), 300)
    assert np.nanmedian(large) <= 0.25 * 300
    assert np.isfinite(large).mean() >= 0.99
    small = _decided(binary_differences(rng, 500, 300, 0.05), 300)
    assert np.isfinite(small).mean() <= 0.3


def test_long_conversations_are_decided_too() -> None:
    """993 lines in conversations of 1 to 40, of which two in ten more are won than lost: nearly always decided."""
    rng, decided, runs = np.random.default_rng(3), 0, 200
    for _ in range(runs):
        sizes = _sizes(rng, 40, 993)
        units = _totals(rng, sizes, 0.2) / max(sizes)
        decided += bool((anytime_p(units, capacity=993 / max(sizes)) <= ALPHA).any())
    assert decided / runs >= 0.85


def test_the_interval_holds_wherever_the_test_stops() -> None:
    """It is read where a run would stop: at the unit that decides, else at the last."""
    rng, covered, runs, effect = np.random.default_rng(2), 0, 400, 0.15
    for values in _normal_differences(rng, runs, 100, effect):
        test = SequentialTest(lines=100, longest=1)
        for value in values:
            test.add(float(value), 1)
            if test.p <= ALPHA:
                break
        low, high = test.interval()
        covered += low <= effect <= high
    assert covered / runs >= 0.95


@given(st.floats(-1, 1), st.integers(1, 60), st.integers(1, 20))
def test_no_difference_below_the_least_is_ever_decided(difference: float, units: int, longest: int) -> None:
    test = SequentialTest(lines=units * longest, longest=longest)
    for _ in range(units):
        test.add(difference * longest, longest)
    assert abs(difference) >= test.least_decided() or test.p > ALPHA
