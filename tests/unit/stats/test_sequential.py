"""A test that may be stopped at any unit keeps its level, and saves units where there is much to find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi3flow.stats import ALPHA, SequentialTest, anytime_p
from phi3flow.stats.estimates import Floats

SIMULATIONS = 4_000
units = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


def binary_differences(rng: np.random.Generator, rows: int, n: int, effect: float) -> Floats:
    """Differences of two 0/1 scores that differ on three lines in ten."""
    drawn = rng.random((rows, n))
    wins = (0.3 + effect) / 2
    return (drawn < wins).astype(float) - ((drawn >= wins) & (drawn < 0.3))


def _normal_differences(rng: np.random.Generator, rows: int, n: int, effect: float) -> Floats:
    return np.clip(rng.normal(effect, 0.3, (rows, n)), -1, 1)


def _first_decided(units: Floats) -> Floats:
    """Return after how many units each sequence is decided; nan where it never is."""
    decided = anytime_p(units) <= ALPHA
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.nan)


@given(units)
def test_one_by_one_and_all_at_once_give_the_same_p(values: list[float]) -> None:
    test = SequentialTest()
    for value in values:
        test.add(value)
    assert test.p == pytest.approx(anytime_p(np.array(values))[-1])
    assert (test.units, test.mean) == (len(values), pytest.approx(np.mean(values)))


@given(units)
@example([1.0])
@example([-1.0, -1.0])
def test_the_interval_holds_the_mean_and_excludes_zero_where_zero_is_refuted_now(values: list[float]) -> None:
    test = SequentialTest()
    for value in values:
        test.add(value)
    low, high = test.interval()
    assert -1 <= low <= test.mean + 1e-9
    assert test.mean - 1e-9 <= high <= 1
    if not low <= 0 <= high:
        assert test.is_decided, "p remembers the least that it has been"


def test_units_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="between -1 and 1, not 1.5"):
        SequentialTest().add(1.5)
    SequentialTest().add((100.00000000000004 - 0.0) / 100)


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("differences", [binary_differences, _normal_differences])
def test_it_cries_wolf_in_at_most_five_percent_of_all_runs(differences, n) -> None:  # type: ignore[no-untyped-def]
    rng, rows = np.random.default_rng(0), 500
    wrong = sum(
        int(np.isfinite(_first_decided(differences(rng, rows, n, 0.0))).sum()) for _ in range(SIMULATIONS // rows)
    )
    assert wrong / SIMULATIONS <= 0.05


def test_a_large_difference_is_decided_after_few_of_300_lines_and_a_small_one_is_not() -> None:
    rng = np.random.default_rng(1)
    large = _first_decided(binary_differences(rng, 500, 300, 0.2))
    assert np.nanmedian(large) <= 0.25 * 300
    assert np.isfinite(large).mean() >= 0.99
    small = _first_decided(binary_differences(rng, 500, 300, 0.05))
    assert np.isfinite(small).mean() <= 0.3


def test_the_interval_holds_wherever_the_test_stops() -> None:
    """It is read where a run would stop: at the unit that decides, else at the last."""
    rng, covered, runs, effect = np.random.default_rng(2), 0, 400, 0.15
    for values in _normal_differences(rng, runs, 100, effect):
        test = SequentialTest()
        for value in values:
            test.add(float(value))
            if test.is_decided:
                break
        low, high = test.interval()
        covered += low <= effect <= high
    assert covered / runs >= 0.95
