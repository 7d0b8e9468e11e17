"""Paired comparisons: known figures, properties, coverage by enumeration, and the power that they have.

Intervals cover at least 0.93; false positives are at most 0.06.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from phi3flow import stats
from phi3flow.stats.paired_shares import tango_statistic
from tests.support.simulations import rng

scores = st.lists(st.floats(0, 1), min_size=2, max_size=40)


paired = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


def test_a_comparison_without_a_range_is_the_paired_t_test():
    left, right = rng(1).random(40), rng(2).random(40)
    comparison = stats.compare_pairs(left, right, rng=rng(), score_range=None)
    expected = scipy_stats.ttest_rel(right, left)
    interval = expected.confidence_interval()
    assert comparison.p == pytest.approx(expected.pvalue)
    assert (comparison.low, comparison.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert comparison.method == "paired t"


@given(paired, st.integers(0, 2), st.sampled_from([1, 3, 20]))
def test_p_is_below_the_level_just_where_the_interval_excludes_zero(pairs, shared, tests):
    left, right = np.array(pairs).T
    clusters = np.arange(len(pairs)) // (shared + 1)
    comparison = stats.compare_pairs(left, right, clusters=clusters, rng=rng(), tests=tests)
    if comparison.low is None or comparison.method.startswith("Tango"):
        return
    for level, (low, high) in (
        (0.05, (comparison.low, comparison.high)),
        (0.05 / tests, comparison.simultaneous or (comparison.low, comparison.high)),
    ):
        if min(abs(low), abs(high)) > 1e-9:
            assert (comparison.p < level) == (low > 0 or high < 0)


@given(paired, st.integers(0, 2), st.sampled_from([(0.0, 1.0), (1.0, 5.0)]))
def test_no_interval_of_a_range_has_width_zero_or_leaves_it(pairs, shared, score_range):
    low, high = score_range
    left, right = low + (high - low) * np.array(pairs).T
    clusters = np.arange(len(pairs)) // (shared + 1)
    comparison = stats.compare_pairs(left, right, clusters=clusters, rng=rng(), score_range=score_range)
    if comparison.low is None:
        assert "at least 6 are needed" in comparison.note
        return
    width = high - low
    assert -width <= comparison.low <= comparison.mean + 1e-12
    assert comparison.mean - 1e-12 <= comparison.high <= width
    assert comparison.high - comparison.low > width / (len(pairs) + 4)


def test_tests_that_share_the_level_have_wider_intervals_and_need_more_lines():
    left, right = rng(1).random(60), rng(2).random(60)
    alone, shared = (stats.compare_pairs(left, right, rng=rng(), tests=tests) for tests in (1, 10))
    assert alone.simultaneous is None
    assert (alone.low, alone.high, alone.p) == (shared.low, shared.high, shared.p)
    assert shared.simultaneous[0] < shared.low < shared.high < shared.simultaneous[1]
    assert shared.minimum_detectable_effect > alone.minimum_detectable_effect
    assert shared.lines_needed > alone.lines_needed


@pytest.mark.parametrize("left", [[0.3] * 5, [1.0, 0.0, 1.0, 1.0, 0.0]])
def test_five_lines_that_tie_do_not_rule_out_a_small_loss(left):
    comparison = stats.compare_pairs(left, left, rng=rng())
    assert comparison.low < -0.3 < 0.3 < comparison.high
    assert (comparison.mean, comparison.p, comparison.p_permutation) == (0.0, 1.0, 1.0)


def test_two_lines_a_star_better_do_not_show_nine_tenths_of_one():
    comparison = stats.compare_pairs([3.0, 3.0], [4.0, 4.0], rng=rng(), score_range=(1.0, 5.0))
    assert comparison.mean == 1.0
    assert comparison.low < 0


def test_what_differs_by_rounding_is_a_tie():
    left, right = [0.1 + 0.2, 0.5, 0.7, 1e-17], [0.3, 0.5, 0.7, 0.0]
    comparison = stats.compare_pairs(left, right, rng=rng())
    assert (comparison.wins, comparison.losses, comparison.ties) == (0, 0, 4)
    assert (comparison.mean, comparison.p, comparison.p_permutation) == (0.0, 1.0, 1.0)


def test_binary_scores_with_rounding_are_binary():
    left, right = np.array([0.0] * 25 + [1.0] * 5), np.array([0.0] * 28 + [1.0] * 2)
    noisy = right - 1e-16 * right
    assert stats.compare_pairs(left, noisy, rng=rng()) == stats.compare_pairs(left, right, rng=rng())


def test_runs_without_a_range_that_show_no_scatter_have_no_interval_and_say_why():
    constant = stats.compare_pairs([10.0] * 8, [12.0] * 8, rng=rng(), score_range=None)
    alike = stats.compare_pairs([10.0] * 8, [10.0] * 8, rng=rng(), score_range=None, tests=2)
    assert (constant.mean, constant.low, constant.p, constant.p_permutation) == (2.0, None, None, 2 / 2**8)
    assert (alike.mean, alike.low, alike.p, alike.simultaneous) == (0.0, None, 1.0, None)
    assert "declare the metric's range" in constant.note
    assert constant.note == alike.note


@given(paired, st.integers(0, 3))
def test_swapping_the_runs_mirrors_the_comparison(pairs, shared):
    left, right = np.array(pairs).T
    clusters = np.arange(len(pairs)) // (shared + 1)
    one = stats.compare_pairs(left, right, clusters=clusters, rng=rng())
    other = stats.compare_pairs(right, left, clusters=clusters, rng=rng())
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.wins + one.losses + one.ties == one.n == len(pairs)
    assert one.mean == pytest.approx(-other.mean)
    assert one.p_permutation == pytest.approx(other.p_permutation)
    if one.low is not None:
        assert (one.low, one.high) == (pytest.approx(-other.high, abs=1e-9), pytest.approx(-other.low, abs=1e-9))
    if one.p is not None:
        assert one.p == pytest.approx(other.p)
        assert 0 <= one.p <= 1


def test_a_difference_that_is_but_rounding_has_no_number_of_lines_that_would_show_it():
    found = stats.compare_pairs([0.0, 1.0, 0.0], [1.0, 0.0, 2.225073858507203e-309], rng=rng())
    assert (found.wins, found.losses, found.ties, found.lines_needed) == (1, 1, 1, None)
    assert found.minimum_detectable_effect is None, "three lines between -1 and 1 show no difference with 80 % power"


@given(scores, st.booleans())
def test_runs_that_score_alike_do_not_differ(values, binary):
    values = np.round(values) if binary else np.array(values)
    found = stats.compare_pairs(values, values, rng=rng())
    assert (found.mean, found.p, found.p_permutation) == (0.0, 1.0, 1.0)
    assert found.low == pytest.approx(-found.high, abs=1e-9)
    assert found.high > 0
    assert found.lines_needed is None


def test_one_pair_has_a_difference_and_next_to_nothing_more():
    found = stats.compare_pairs([0.2], [0.5], rng=rng())
    assert found.mean == pytest.approx(0.3)
    assert found.low < -0.5
    assert found.p > 0.5
    assert found.p_permutation == 1.0


def test_no_pair_has_nothing():
    found = stats.compare_pairs([], [], rng=rng())
    assert (found.n, found.mean, found.p, found.p_permutation) == (0, None, None, None)


def test_a_constant_difference_of_few_lines_shows_nothing():
    found = stats.compare_pairs([0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5], rng=rng())
    assert found.low < 0 < found.high
    assert found.p > 0.5
    assert found.p_permutation == pytest.approx(2 / 2**4)


def test_clusters_whose_differences_cancel_do_not_differ():
    found = stats.compare_pairs([0.5] * 12, [0.7, 0.3] * 6, clusters=np.repeat(np.arange(6), 2), rng=rng())
    assert (found.mean, found.p, found.p_permutation) == (pytest.approx(0), pytest.approx(1), 1.0)
    assert found.low < -0.1


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 against 1"):
        stats.compare_pairs([0.1, 0.2], [0.1], rng=rng())


@pytest.mark.parametrize(("wins", "losses", "low", "high"), [(9, 3, -0.0178, 0.2627), (0, 0, -0.0713, 0.0713)])
def test_tangos_interval_solves_the_score_equation(wins, losses, low, high):
    found = stats.tango_interval(wins, losses, 50)  # of (0, 0) in closed form: +- z^2 / (n + z^2)
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_tangos_interval_excludes_zero_where_mcnemars_score_test_rejects():
    wins, losses = np.meshgrid(np.arange(25), np.arange(25))
    differ = wins + losses > 0
    chi = np.abs(wins - losses)[differ] / np.sqrt((wins + losses)[differ])
    low, high = stats.tango_interval(wins[differ], losses[differ], 60)
    assert (((low > 0) | (high < 0)) == (chi > special.ndtri(0.975))).all()


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 12), (10, 10), (40, 15), (300, 200)])
def test_mid_p_is_the_exact_p_less_half_the_observed_chance(wins, losses):
    exact = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    chance = scipy_stats.binom.pmf(wins, wins + losses, 0.5)
    expected = exact if wins + losses == 0 else exact - (chance / 2 if wins == losses else chance)
    assert float(stats.mcnemar_mid_p(wins, losses)) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_its_definition(p_values):
    order = np.argsort(p_values, kind="stable")
    stepped = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    expected = np.empty(len(p_values))
    expected[order] = np.minimum(1, np.maximum.accumulate(stepped))
    assert stats.holm(p_values) == pytest.approx(list(expected))


def test_holm_counts_a_metric_without_p_in_the_family():
    assert stats.holm([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert stats.holm([]) == []


def _tables(n: int, *, win: float, loss: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every outcome (wins, losses) of n pairs of 0/1 scores, and its chance."""
    wins, losses = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    keep = wins + losses <= n
    wins, losses = wins[keep], losses[keep]
    log_chance = (
        special.gammaln(n + 1)
        - special.gammaln(wins + 1)
        - special.gammaln(losses + 1)
        - special.gammaln(n - wins - losses + 1)
        + special.xlogy(wins, win)
        + special.xlogy(losses, loss)
        + special.xlogy(n - wins - losses, 1 - win - loss)
    )
    return wins, losses, np.exp(log_chance)


PAIRED_SHARES = [(0.02, 0.02), (0.5, 0.5), (0.02, 0.05), (0.02, 0.1), (0, 0.02), (0.5, 0.6), (0.5, 0.9), (0.1, 0.95)]


FEW_WIN = [(0.01, 0.0), (0.02, 0.0), (0.1, 0.0), (0.02, 0.01), (0.04, 0.02), (0.2, 0.1), (0.33, 0.03), (0.5, 0.002)]


@pytest.mark.parametrize("n", [5, 20, 30, 50, 100, 200])
@pytest.mark.parametrize(("win", "loss"), FEW_WIN)
def test_counted_exactly_a_true_margin_is_passed_by_at_most_3_of_100(n, win, loss):
    """Where Tango's bound alone passes up to 4.3 of 100."""
    wins, losses, chance = _tables(n, win=win, loss=loss)
    passes = np.flatnonzero((stats.tango_interval(wins, losses, n)[0] > win - loss + 1e-9) & (chance > 1e-9))
    tails = [stats.share_difference_tail(int(wins[i]), int(losses[i]), n, win - loss) for i in passes]
    assert sum(chance[i] for i, tail in zip(passes, tails, strict=True) if tail <= stats.MOST_ONE_SIDED) <= 0.03


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 12), st.floats(0.01, 0.6))
def test_the_exact_tail_is_that_of_all_outcomes_at_the_worst_share_of_losses(n, wins, losses, margin):
    wins = min(wins, n)
    losses = min(losses, n - wins)
    won, lost = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    beyond = (won + lost <= n) & (
        tango_statistic(won, lost, n, margin) >= float(tango_statistic(wins, losses, n, margin)) - 1e-9
    )
    counts = np.stack([won, lost, n - won - lost], axis=1)[beyond]
    shares = np.linspace(0, (1 - margin) / 2, 400)
    chances = np.array(
        [
            scipy_stats.multinomial.pmf(counts, n, [share + margin, share, max(0.0, 1 - margin - 2 * share)]).sum()
            for share in shares
        ]
    )
    tail = stats.share_difference_tail(wins, losses, n, margin)
    assert tail <= chances.max() + 0.003
    if losses / n <= shares[-1]:
        assert tail >= chances[np.abs(shares - losses / n).argmin()] - 0.003


def test_the_exact_tail_of_many_lines_takes_a_moment_and_is_the_normal_one():
    tail = stats.share_difference_tail(12_000, 9_900, 100_000, 0.02)
    z = float(tango_statistic(12_000, 9_900, 100_000, 0.02))
    assert tail == pytest.approx(special.ndtr(-z) + 0.001, abs=0.002)


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize(("before", "after"), PAIRED_SHARES)
def test_tangos_interval_covers(n, before, after):
    wins, losses, chance = _tables(n, win=after * (1 - before), loss=before * (1 - after))
    low, high = stats.tango_interval(wins, losses, n)
    assert chance[(low <= after - before + 1e-12) & (after - before - 1e-12 <= high)].sum() >= 0.93


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_mid_p_test_keeps_its_level(n, share):
    wins, losses, chance = _tables(n, win=share * (1 - share), loss=share * (1 - share))
    assert chance[stats.mcnemar_mid_p(wins, losses) < stats.ALPHA].sum() <= 0.06


@given(st.integers(2, 5), st.integers(2, 30), st.integers(0, 2**32), st.booleans())
def test_lines_needed_are_of_enough_conversations(conversations, length, seed, binary):
    draw = rng(seed)
    n = conversations * length
    before, after = draw.random((2, n)) if not binary else draw.integers(0, 2, (2, n)).astype(float)
    compared = stats.compare_pairs(before, after, rng=rng(), clusters=np.arange(n) // length)
    assert (compared.low, compared.minimum_detectable_effect, compared.conversations) == (None, None, conversations)
    assert compared.lines_needed is None or compared.lines_needed >= 6 * length


def test_four_conversations_of_twenty_need_two_more():
    draw = rng(7)
    before, after = 0.1 * draw.random(80), 0.8 + 0.1 * draw.random(80)
    compared = stats.compare_pairs(before, after, rng=rng(), clusters=np.arange(80) // 20, score_range=None)
    assert (compared.lines_needed, compared.longest) == (120, 20)
    alone = stats.compare_pairs(before, after, rng=rng())
    assert (alone.conversations, alone.longest) == (None, None)
    assert alone.lines_needed < 20
