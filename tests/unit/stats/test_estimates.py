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


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40).filter(lambda values: np.std(values) > 1e-6))
def test_a_mean_without_a_range_has_students_interval(values):
    estimate = stats.estimate_mean(values, score_range=None)
    se = np.std(values, ddof=1) / math.sqrt(len(values))
    low, high = np.mean(values) + np.array([-1, 1]) * scipy_stats.t.ppf(0.975, len(values) - 1) * se
    assert estimate.method == "t"
    assert (estimate.mean, estimate.se) == (pytest.approx(np.mean(values)), pytest.approx(se, abs=1e-9))
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@pytest.mark.parametrize(("successes", "n"), [(0, 30), (1, 30), (15, 30), (30, 30), (7, 300)])
def test_a_zero_one_mean_has_wilsons_interval(successes, n):
    found = stats.estimate_mean([1.0] * successes + [0.0] * (n - successes))
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert found.method == "wilson"
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert 0 <= found.low <= found.mean <= found.high <= 1


@pytest.mark.parametrize("n", [1, 5, 10, 29])
def test_few_zero_one_scores_have_no_narrower_interval_than_the_exact_one(n):
    for successes in range(n + 1):
        estimate = stats.estimate_mean([1.0] * successes + [0.0] * (n - successes))
        trial = scipy_stats.binomtest(successes, n)
        wilson, exact = trial.proportion_ci(method="wilson"), trial.proportion_ci(0.94, method="exact")
        assert estimate.method == "wilson"
        assert estimate.low == pytest.approx(min(wilson.low, exact.low), abs=1e-12)
        assert estimate.high == pytest.approx(max(wilson.high, exact.high), abs=1e-12)


@given(st.lists(st.floats(1, 5), min_size=1, max_size=40), st.sampled_from([(1.0, 5.0), (0.0, 7.0), (-2.0, 6.0)]))
def test_an_estimate_is_the_same_in_any_unit(values, score_range):
    low, high = score_range
    unit = stats.estimate_mean((np.array(values) - low) / (high - low))
    estimate = stats.estimate_mean(values, score_range=score_range)
    for name in ("mean", "low", "high"):
        assert getattr(estimate, name) == pytest.approx(low + getattr(unit, name) * (high - low), abs=1e-9)
    assert estimate.se == (None if unit.se is None else pytest.approx(unit.se * (high - low), abs=1e-12))
    assert estimate.method.startswith(unit.method)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 4))
def test_no_interval_of_a_range_has_width_zero_or_leaves_it(values, lines):
    clusters = None if lines == 1 else np.arange(len(values)) // lines
    estimate = stats.estimate_mean(values, clusters=clusters)
    if estimate.low is None:
        assert "at least 6 are needed" in estimate.note
        return
    assert 0 <= estimate.low <= estimate.mean + 1e-12
    assert estimate.mean - 1e-12 <= estimate.high <= 1
    assert estimate.high - estimate.low > 1 / (len(values) + 4)


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


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 2**32 - 1))
def test_the_clustered_error_is_cr2_with_bell_and_mccaffreys_degrees_of_freedom(lengths, seed):
    clusters = np.repeat(np.arange(len(lengths)), lengths)
    values = rng(seed).random(len(clusters))
    se, df = stats.standard_error(values, clusters)
    expected_se, expected_df = _cr2_by_matrices(values, clusters)
    assert (float(se), df) == (pytest.approx(expected_se, rel=1e-6), pytest.approx(expected_df, rel=1e-6))


def _cr2_by_matrices(values, clusters):
    """Return CR2 and its degrees of freedom by their definition, for the regression on a constant."""
    n = len(values)
    hat, identity = np.full((n, n), 1 / n), np.eye(n)
    meat, columns = 0.0, []
    for label in np.unique(clusters):
        own = clusters == label
        roots, vectors = np.linalg.eigh((identity - hat)[np.ix_(own, own)])
        adjustment = vectors @ np.diag(roots**-0.5) @ vectors.T
        meat += (np.ones(own.sum()) @ adjustment @ (values - values.mean())[own]) ** 2
        columns.append((identity - hat)[:, own] @ adjustment @ np.ones(own.sum()) / n)
    gram = np.array(columns) @ np.array(columns).T
    return math.sqrt(meat) / n, np.trace(gram) ** 2 / (gram**2).sum()


def test_equal_conversations_have_one_degree_of_freedom_less_than_they_are():
    se, df = stats.standard_error(np.repeat(rng().random(20), 5), np.repeat(np.arange(20), 5))
    assert df == pytest.approx(19)
    assert se == pytest.approx(np.std(rng().random(20), ddof=1) / math.sqrt(20))


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


@pytest.mark.parametrize("nameless", [None, "", "  "])
def test_a_line_without_a_conversation_is_one_of_its_own(nameless):
    values = rng().random(40)
    named = [f"conversation {number // 4}" for number in range(20)]
    expected = stats.estimate_mean(values, clusters=[*named, *(f"line {number}" for number in range(20))])
    estimate = stats.estimate_mean(values, clusters=[*named, *[nameless] * 20])
    assert estimate.se == pytest.approx(expected.se)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert stats.estimate_mean(values, clusters=[nameless] * 40) == stats.estimate_mean(values)


def test_clustered_zero_one_scores_that_all_agree_keep_an_interval():
    estimate = stats.estimate_mean([1.0] * 30, clusters=np.repeat(np.arange(6), 5))
    assert estimate.method == "clustered wilson"
    assert estimate.low < 0.6
    assert estimate.high == 1.0


def test_fewer_than_six_conversations_have_no_interval_and_say_how_many_are_needed():
    values = rng().random(25)
    five = stats.estimate_mean(values, clusters=np.repeat(np.arange(5), 5))
    compared = stats.compare_pairs(values, 0 * values, clusters=np.repeat(np.arange(5), 5), rng=rng(), tests=2)
    assert (five.low, five.high, compared.low, compared.p, compared.simultaneous) == (None,) * 5
    assert five.note == compared.note == "5 conversations: at least 6 are needed for a verdict"
    assert stats.estimate_mean(rng().random(30), clusters=np.repeat(np.arange(6), 5)).note is None


def test_a_conversation_of_nearly_all_lines_leaves_no_interval():
    clusters = np.concatenate([np.zeros(90, dtype=int), np.arange(1, 11)])
    estimate = stats.estimate_mean(rng().random(100), clusters=clusters)
    assert (estimate.low, estimate.note) == (
        None,
        "one conversation has 90 of 100 lines: more of the others are needed",
    )


def test_no_line_and_one_conversation_have_no_interval():
    nothing = stats.estimate_mean([], n_failed=3)
    conversation = stats.estimate_mean([0.4, 0.5], clusters=["a", "a"])
    assert (nothing.mean, nothing.n, nothing.n_failed) == (None, 0, 3)
    assert (conversation.low, conversation.se) == (None, None)
    assert conversation.note == "one conversation: at least 6 are needed for a verdict"


def test_one_score_of_a_range_leaves_nearly_all_of_it():
    one = stats.estimate_mean([0.4])
    assert (one.mean, one.se) == (0.4, None)
    assert one.high - one.low > 0.9


@pytest.mark.parametrize(("score", "score_range"), [(0.75, (0.0, 1.0)), (4.0, (1.0, 5.0)), (0.1, (0.0, 1.0))])
def test_scores_that_are_all_alike_keep_an_interval(score, score_range):
    """95 % fours of stars cover 0.40 at n = 10 where the interval of ten fours is [4, 4]."""
    estimate = stats.estimate_mean([score] * 10, score_range=score_range)
    width = score_range[1] - score_range[0]
    assert (estimate.mean, estimate.se) == (pytest.approx(score), 0.0)
    assert estimate.low <= score - 0.1 * width
    assert score + 0.1 * width < estimate.high < score + 0.5 * width


@pytest.mark.parametrize("values", [[3.5], [3.5] * 20])
def test_scores_without_a_range_that_show_no_scatter_have_no_interval_and_say_why(values):
    estimate = stats.estimate_mean(values, score_range=None)
    assert (estimate.mean, estimate.low, estimate.high) == (3.5, None, None)
    assert "declare the metric's range (score_ranges)" in estimate.note


def test_few_lines_that_carry_a_mean_without_a_range_are_named():
    values = rng().normal(0, 1, 100)
    values[:3] = 40
    assert stats.estimate_mean(values, score_range=None).note.startswith("5 of 100 lines have 9")
    assert stats.estimate_mean(values[3:], score_range=None).note is None


def test_rounding_beyond_the_range_is_none():
    perfect = stats.estimate_mean([100.00000000000004] * 30, score_range=(0.0, 100.0))
    assert perfect == stats.estimate_mean([100.0] * 30, score_range=(0.0, 100.0))
    assert (perfect.mean, perfect.high) == (100.0, 100.0)
    assert stats.known_range("f1", {}, [[0.3, 1.0000000000000002]]) == stats.UNIT
    assert stats.known_range("f1", {}, [[0.3, 1.01]]) is None


def test_scores_outside_a_declared_range_do_without_it():
    estimate = stats.estimate_mean([1.0, 3.0, 9.0, 4.0], score_range=(1.0, 5.0))
    assert estimate.method == "t"
    assert estimate.note == "scores lie outside the declared range 1 to 5: it is not used"


@pytest.mark.parametrize("bad", [[0.1, math.nan], [math.inf], [[0.1]]])
def test_scores_that_are_no_row_of_finite_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite numbers"):
        stats.estimate_mean(bad)


@pytest.mark.parametrize("n", [5, 10, 20, 50, 200])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.97])
def test_the_interval_of_a_share_covers_and_a_gate_on_it_errs_in_at_most_3_of_100(n, share):
    successes = np.arange(n + 1)
    low, high = stats.share_interval(successes, n)
    chance = scipy_stats.binom.pmf(successes, n, share)
    assert chance[(low <= share) & (share <= high)].sum() >= 0.93
    tails = np.array([stats.share_tail(hits, n, share, above=True) for hits in successes.tolist()])
    assert tails == pytest.approx(chance[::-1].cumsum()[::-1], abs=1e-12)
    assert chance[(low > share + 1e-12) & (tails <= stats.MOST_ONE_SIDED)].sum() <= 0.03


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
