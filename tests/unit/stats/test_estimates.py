"""Estimates of a mean: known figures, properties, and coverage by enumeration and simulation.

Intervals cover at least 0.93; false positives are at most 0.06, and at least 0.04 for continuous scores.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from phi3flow import stats
from tests.support.simulations import conversations, correlated, rng

scores = st.lists(st.floats(0, 1), min_size=2, max_size=40)


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
    assert stats.compare_pairs(left, right, rng=rng(), score_range=(0.0, 7.0)).method == "paired t"
    unit = stats.compare_pairs(left, right, rng=rng())
    scaled = stats.compare_pairs(1 + 4 * left, 1 + 4 * right, rng=rng(), score_range=(1.0, 5.0))
    assert scaled.method == unit.method == "Tango interval, mid-p McNemar"
    assert (scaled.mean, scaled.low, scaled.high) == pytest.approx((4 * unit.mean, 4 * unit.low, 4 * unit.high))
    assert (scaled.p, scaled.p_permutation) == (unit.p, unit.p_permutation)


@given(scores, st.integers(0, 2**32 - 1))
def test_the_clustered_error_is_millers_formula(values, seed):
    clusters = rng(seed).integers(0, 4, len(values))
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
    values = np.repeat(rng().random(20), 5)
    alone = stats.estimate_mean(values)
    together = stats.estimate_mean(values, clusters=np.repeat(np.arange(20), 5))
    assert together.method == "clustered t"
    assert together.se == pytest.approx(np.std(values[::5], ddof=1) / math.sqrt(20))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_clusters_that_no_lines_share_change_nothing():
    values = rng().random(30)
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


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_wilsons_interval_covers(n, share):
    successes = np.arange(n + 1)
    low, high = stats.wilson_interval(successes / n, n)
    chance = scipy_stats.binom.pmf(successes, n, share)
    assert chance[(low <= share) & (share <= high)].sum() >= 0.93


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("lines", [1, 5])
def test_the_t_interval_and_test_keep_their_level(n, lines):
    values = correlated(rng(n + lines), n, lines)
    mean = values.mean(axis=-1)
    se, df = stats.standard_error(values, conversations(n, lines))
    low, high = stats.t_interval(mean, se, df)
    assert ((low <= 0) & (high >= 0)).mean() >= 0.93
    assert 0.04 <= (stats.t_test(mean, se, df) < stats.ALPHA).mean() <= 0.06


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_clustered_wilson_interval_covers(n, share):
    values = (correlated(rng(n), n, 5) < special.ndtri(share)).astype(float)
    mean = values.mean(axis=-1)
    se, df = stats.standard_error(values, conversations(n, 5))
    low, high = stats.clustered_wilson_interval(mean, se, n, df)
    assert ((low <= share) & (share <= high)).mean() >= 0.93


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_clustered_test_of_zero_one_scores_keeps_its_level(n, share):
    generator = rng(n)
    before, after = (correlated(generator, n, 5) < special.ndtri(share) for _ in range(2))
    differences = after.astype(float) - before
    se, df = stats.standard_error(differences, conversations(n, 5))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = stats.t_test(differences.mean(axis=-1), se, df)
    assert (p < stats.ALPHA).mean() <= 0.06
