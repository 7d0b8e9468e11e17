"""Estimates and paired comparisons: known figures, properties, and coverage by enumeration and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from phi3flow import stats

SIMULATIONS = 20_000
scores = st.lists(st.floats(0, 1), min_size=2, max_size=40)
paired = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Estimates


@given(scores.filter(lambda values: not set(values) <= {0.0, 1.0}))
def test_a_mean_has_students_interval(values):
    found = stats.estimate_mean(values)
    se = np.std(values, ddof=1) / math.sqrt(len(values))
    low, high = np.mean(values) + np.array([-1, 1]) * scipy_stats.t.ppf(0.975, len(values) - 1) * se
    assert found.method == "t"
    assert (found.mean, found.se) == (pytest.approx(np.mean(values)), pytest.approx(se, abs=1e-12))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("successes", "n"), [(0, 30), (1, 30), (15, 30), (30, 30), (7, 300), (1, 1)])
def test_a_zero_one_mean_has_wilsons_interval(successes, n):
    found = stats.estimate_mean([1.0] * successes + [0.0] * (n - successes))
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert found.method == "wilson"
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert 0 <= found.low <= found.mean <= found.high <= 1


@given(st.lists(st.floats(1, 5), min_size=2, max_size=40), st.sampled_from([(1.0, 5.0), (0.0, 7.0), (-2.0, 6.0)]))
def test_an_estimate_is_the_same_in_any_unit(values, score_range):
    low, high = score_range
    unit = stats.estimate_mean((np.array(values) - low) / (high - low))
    found = stats.estimate_mean(values, score_range=score_range)
    for name in ("mean", "low", "high"):
        assert getattr(found, name) == pytest.approx(low + getattr(unit, name) * (high - low), abs=1e-9)
    assert found.se == pytest.approx(unit.se * (high - low))
    assert found.method.startswith(unit.method)


def test_scores_of_zero_and_one_are_a_share_only_where_the_range_ends_there():
    severities = [0.0] * 28 + [1.0] * 2
    assert stats.estimate_mean(severities, score_range=(0.0, 7.0)).method == "t"
    harmless = stats.estimate_mean([0.0] * 30, score_range=(0.0, 7.0))
    assert harmless.method == "wilson, 0 to 7"
    assert (harmless.low, harmless.high) == (0.0, pytest.approx(7 * stats.estimate_mean([0.0] * 30).high))
    left, right = np.array([0.0] * 25 + [1.0] * 5), np.array([0.0] * 28 + [1.0] * 2)
    assert stats.compare_pairs(left, right, rng=_rng(), score_range=(0.0, 7.0)).method == "paired t"
    unit = stats.compare_pairs(left, right, rng=_rng())
    scaled = stats.compare_pairs(1 + 4 * left, 1 + 4 * right, rng=_rng(), score_range=(1.0, 5.0))
    assert scaled.method == unit.method == "Tango interval, mid-p McNemar"
    assert (scaled.mean, scaled.low, scaled.high) == pytest.approx((4 * unit.mean, 4 * unit.low, 4 * unit.high))
    assert (scaled.p, scaled.p_permutation) == (unit.p, unit.p_permutation)


@given(scores, st.integers(0, 2**32 - 1))
def test_the_clustered_error_is_millers_formula(values, seed):
    clusters = _rng(seed).integers(0, 4, len(values))
    labels = np.unique(clusters)
    codes = np.searchsorted(labels, clusters)
    residuals = np.array(values) - np.mean(values)
    within = [residuals[clusters == label].sum() for label in labels]
    se, df = stats.standard_error(np.array(values), codes)
    assert df == len(labels) - 1
    if df:
        expected = math.sqrt(len(labels) / df * sum(np.square(within))) / len(values)
        assert se == pytest.approx(expected, abs=1e-12)


def test_lines_of_one_conversation_widen_the_interval():
    values = np.repeat(_rng().random(20), 5)
    alone = stats.estimate_mean(values)
    together = stats.estimate_mean(values, clusters=np.repeat(np.arange(20), 5))
    assert together.method == "clustered t"
    assert together.se == pytest.approx(np.std(values[::5], ddof=1) / math.sqrt(20))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_clusters_that_no_lines_share_change_nothing():
    values = _rng().random(30)
    assert stats.estimate_mean(values, clusters=[f"line {i}" for i in range(30)]) == stats.estimate_mean(values)


def test_clustered_zero_one_scores_that_all_agree_keep_an_interval():
    found = stats.estimate_mean([1.0] * 30, clusters=np.repeat(np.arange(6), 5))
    assert found.method == "clustered wilson"
    assert found.low < 0.6
    assert found.high == 1.0


def test_no_line_one_line_and_one_cluster_have_no_interval():
    nothing, one = stats.estimate_mean([], n_failed=3), stats.estimate_mean([0.4])
    cluster = stats.estimate_mean([0.4, 0.5], clusters=["a", "a"])
    assert (nothing.mean, nothing.n, nothing.n_failed) == (None, 0, 3)
    assert (one.mean, one.low, one.high, one.se) == (0.4, None, None, None)
    assert (cluster.low, cluster.se) == (None, None)


def test_a_constant_score_has_an_interval_of_no_width():
    found = stats.estimate_mean([0.1] * 7)
    assert (found.low, found.high, found.se) == (pytest.approx(0.1), pytest.approx(0.1), 0.0)


@pytest.mark.parametrize("bad", [[0.1, math.nan], [math.inf], [[0.1]]])
def test_scores_that_are_no_row_of_finite_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite numbers"):
        stats.estimate_mean(bad)


# Paired comparisons


def test_a_comparison_of_continuous_scores_is_the_paired_t_test():
    left, right = _rng(1).random(40), _rng(2).random(40)
    found = stats.compare_pairs(left, right, rng=_rng())
    expected = scipy_stats.ttest_rel(right, left)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.method == "paired t"


@given(paired, st.integers(0, 3))
def test_swapping_the_runs_mirrors_the_comparison(pairs, shared):
    left, right = np.array(pairs).T
    clusters = np.arange(len(pairs)) // (shared + 1)
    one = stats.compare_pairs(left, right, clusters=clusters, rng=_rng())
    other = stats.compare_pairs(right, left, clusters=clusters, rng=_rng())
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.wins + one.losses + one.ties == one.n == len(pairs)
    assert one.mean == pytest.approx(-other.mean)
    assert one.p_permutation == pytest.approx(other.p_permutation)
    if one.low is not None:
        assert (one.low, one.high) == (pytest.approx(-other.high, abs=1e-9), pytest.approx(-other.low, abs=1e-9))
    if one.p is not None:
        assert one.p == pytest.approx(other.p)
        assert 0 <= one.p <= 1


@given(scores, st.booleans())
def test_runs_that_score_alike_do_not_differ(values, binary):
    values = np.round(values) if binary else np.array(values)
    found = stats.compare_pairs(values, values, rng=_rng())
    assert (found.mean, found.low, found.high, found.p, found.p_permutation) == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert (found.minimum_detectable_effect, found.lines_needed) == (None, None)


def test_one_pair_has_a_difference_and_nothing_more():
    found = stats.compare_pairs([0.2], [0.5], rng=_rng())
    assert (found.mean, found.low, found.p) == (pytest.approx(0.3), None, None)
    assert found.p_permutation == 1.0


def test_no_pair_has_nothing():
    found = stats.compare_pairs([], [], rng=_rng())
    assert (found.n, found.mean, found.p, found.p_permutation) == (0, None, None, None)


def test_a_constant_difference_is_tested_by_its_signs():
    found = stats.compare_pairs([0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5], rng=_rng())
    assert found.p == found.p_permutation == pytest.approx(2 / 2**4)


def test_clusters_whose_differences_cancel_do_not_differ():
    found = stats.compare_pairs([0.5] * 6, [0.7, 0.3] * 3, clusters=[0, 0, 1, 1, 2, 2], rng=_rng())
    assert (found.mean, found.p, found.p_permutation) == (pytest.approx(0), 1.0, 1.0)


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 against 1"):
        stats.compare_pairs([0.1, 0.2], [0.1], rng=_rng())


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


def test_the_permutation_test_is_exact_where_few_lines_differ():
    differences = [0.3, -0.1, 0.2, 0.0, 0.4]
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in np.ndindex(2, 2, 2, 2, 2)]
    sums = [2 * total - sum(differences) for total in sums]
    expected = np.mean([abs(total) >= sum(differences) - 1e-12 for total in sums])
    assert stats.sign_flip_p(differences, rng=_rng()) == pytest.approx(expected)


def test_the_permutation_test_by_draws_repeats_with_its_seed_and_agrees_with_the_exact_one():
    differences = _rng(5).normal(0.3, 1, 13)
    exact = stats.sign_flip_p(differences, rng=_rng(), draws=2**13)
    drawn = stats.sign_flip_p(differences, rng=_rng(7), draws=8000)
    assert drawn == stats.sign_flip_p(differences, rng=_rng(7), draws=8000)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 8000))
    assert stats.sign_flip_p(np.full(500, 0.2), rng=_rng()) == pytest.approx(1 / 10_001)


def test_the_permutation_test_flips_whole_clusters():
    differences = np.full(20, 0.5)
    assert stats.sign_flip_p(differences, clusters=np.repeat(np.arange(4), 5), rng=_rng()) == pytest.approx(2 / 2**4)


# Several metrics, power


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


def test_lines_needed_is_the_known_figure():
    assert stats.lines_needed(0.3, 0.02) == 1766


def test_the_minimum_detectable_effect_is_found_four_times_in_five():
    n, deviation = 50, 0.3
    effect = stats.minimum_detectable_effect(deviation / math.sqrt(n), df=n - 1)
    sample = _rng().normal(effect, deviation, (SIMULATIONS, n))
    found = stats.t_test(sample.mean(axis=-1), *stats.standard_error(sample)) < stats.ALPHA
    assert found.mean() == pytest.approx(0.8, abs=0.01)


# Coverage at least 0.93; false positives at most 0.06, and at least 0.04 for continuous scores


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_wilsons_interval_covers(n, share):
    successes = np.arange(n + 1)
    low, high = stats.wilson_interval(successes / n, n)
    chance = scipy_stats.binom.pmf(successes, n, share)
    assert chance[(low <= share) & (share <= high)].sum() >= 0.93


def _tables(n: int, before: float, after: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every outcome (wins, losses) of n independent pairs of 0/1 scores, and its chance."""
    wins, losses = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    keep = wins + losses <= n
    wins, losses = wins[keep], losses[keep]
    win, loss = after * (1 - before), before * (1 - after)
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


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize(("before", "after"), PAIRED_SHARES)
def test_tangos_interval_covers(n, before, after):
    wins, losses, chance = _tables(n, before, after)
    low, high = stats.tango_interval(wins, losses, n)
    assert chance[(low <= after - before + 1e-12) & (after - before - 1e-12 <= high)].sum() >= 0.93


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_mid_p_test_keeps_its_level(n, share):
    wins, losses, chance = _tables(n, share, share)
    assert chance[stats.mcnemar_mid_p(wins, losses) < stats.ALPHA].sum() <= 0.06


def _conversations(n: int, lines: int) -> np.ndarray | None:
    return None if lines == 1 else np.repeat(np.arange(n // lines), lines)


def _correlated(rng: np.random.Generator, n: int, lines: int) -> np.ndarray:
    """Standard normal numbers, half of whose variance is shared by the ``lines`` of a conversation."""
    if lines == 1:
        return rng.standard_normal((SIMULATIONS, n))
    shared = np.repeat(rng.standard_normal((SIMULATIONS, n // lines)), lines, axis=-1)
    return math.sqrt(0.5) * (shared + rng.standard_normal((SIMULATIONS, n)))


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("lines", [1, 5])
def test_the_t_interval_and_test_keep_their_level(n, lines):
    values = _correlated(_rng(n + lines), n, lines)
    mean = values.mean(axis=-1)
    se, df = stats.standard_error(values, _conversations(n, lines))
    low, high = stats.t_interval(mean, se, df)
    assert ((low <= 0) & (high >= 0)).mean() >= 0.93
    assert 0.04 <= (stats.t_test(mean, se, df) < stats.ALPHA).mean() <= 0.06


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_clustered_wilson_interval_covers(n, share):
    values = (_correlated(_rng(n), n, 5) < special.ndtri(share)).astype(float)
    mean = values.mean(axis=-1)
    se, df = stats.standard_error(values, _conversations(n, 5))
    low, high = stats.clustered_wilson_interval(mean, se, n, df)
    assert ((low <= share) & (share <= high)).mean() >= 0.93


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_clustered_test_of_zero_one_scores_keeps_its_level(n, share):
    rng = _rng(n)
    before, after = (_correlated(rng, n, 5) < special.ndtri(share) for _ in range(2))
    differences = after.astype(float) - before
    se, df = stats.standard_error(differences, _conversations(n, 5))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = stats.t_test(differences.mean(axis=-1), se, df)
    assert (p < stats.ALPHA).mean() <= 0.06


@pytest.mark.parametrize("lines", [1, 5])
def test_the_permutation_test_keeps_its_level(lines):
    differences = _correlated(_rng(lines), 10 * lines, lines)[:1000]
    clusters = _conversations(10 * lines, lines)
    rejected = [stats.sign_flip_p(row, clusters=clusters, rng=_rng()) < stats.ALPHA for row in differences]
    assert 0.03 <= np.mean(rejected) <= 0.07  # 1,000 samples: 0.05 +- 3 standard errors
