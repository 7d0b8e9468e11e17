"""The most critical cells of docs/statistics.md, by fewer simulations: coverage, one-sided errors, false positives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from phi3flow import stats
from phi3flow.stats.paired_shares import binomial
from tests.support.simulations import rng

LENGTHS = {
    "1 to 8": np.linspace(1, 8, 20).round().astype(int),
    "1 to 40": np.linspace(1, 40, 20).round().astype(int),
    "half": np.array([57] + [3] * 19),
}


def _errors(low, high, truth):
    return float((low > truth + 1e-9).mean()), float((high < truth - 1e-9).mean())


def _mixture(n, values, simulations=5_000):
    points, chances = np.array([*values, 0.0]), np.array([*values.values(), 1 - sum(values.values())])
    return rng(n).choice(points, p=chances, size=(simulations, n)), float(points @ chances)


def _bound_of_difference(values, clusters):
    return stats.infer_bounded_difference(values, clusters, 1.0).interval()[0]


def _bound_of_mean(values, clusters):
    return stats.infer_bounded_mean(values, clusters, (-1.0, 0.0)).interval()[0]


def _bound_without_range(values, clusters):
    """Where nothing scatters there is no interval."""
    se, (_, df) = stats.unbounded_error(values, clusters), stats.standard_error(values, clusters)
    return np.where(se > 0, stats.t_interval(values.mean(axis=-1), se, df)[0], -np.inf)


@pytest.mark.parametrize("n", [5, 10, 20, 50, 200])
@pytest.mark.parametrize(
    "values",
    [{-0.5: 0.02}, {-0.9: 0.05}, {-0.75: 0.02, 0.25: 0.06}, {0.05: 0.95, -0.95: 0.05}, {-0.9: 0.01, 0.9: 0.01}],
)
def test_a_difference_covers_where_few_lines_differ(n, values):
    sample, truth = _mixture(n, values)
    inferred = stats.infer_bounded_difference(sample, None, 1.0)
    assert max(_errors(*inferred.interval(), truth)) <= 0.033
    assert truth or (inferred.p() < stats.ALPHA).mean() <= 0.06


@pytest.mark.parametrize("n", [5, 10, 20, 50, 200])
@pytest.mark.parametrize("values", [{0.75: 0.95, 1.0: 0.05}, {0.75: 0.95}, {1.0: 0.97, 0.5: 0.03}])
def test_a_mean_covers_where_scores_are_nearly_all_alike(n, values):
    sample, truth = _mixture(n, values)
    bounds = stats.infer_bounded_mean(sample, None, stats.UNIT).interval()
    assert max(_errors(*bounds, truth)) <= 0.033


@pytest.mark.parametrize("n", [5, 10, 20, 50, 100, 200])
@pytest.mark.parametrize("gain", [0.05, 0.3, 0.75, 0.95])
def test_lines_that_all_gain_leave_room_for_some_that_lose_all(n, gain):
    """Each line gains as much, or loses the whole range: enumerated, over shares that n lines may well not show."""
    lost = np.arange(n + 1)
    sample = np.where(np.arange(n) < lost[:, None], -1.0, gain)
    inferred = stats.infer_bounded_difference(sample, None, 1.0)
    low, high = inferred.interval()
    for share in np.arange(1, 10, 0.25) / (2 * n):
        chance, truth = binomial(n, lost, share), gain - share * (1 + gain)
        assert chance @ (low > truth + 1e-9) <= 0.03
        assert chance @ (high < truth - 1e-9) <= 0.03
    equal = binomial(n, lost, gain / (1 + gain))
    assert equal @ ((low > 0) & (inferred.p() < stats.ALPHA)) <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("alike", [0.5, 0.95])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_losses_by_conversation_err_in_at_most_3_of_100(lengths, alike, share):
    clusters = np.repeat(np.arange(20), LENGTHS[lengths])
    lost = _alike(clusters, alike) < special.ndtri(share)
    inferred = stats.infer_bounded_difference(-lost.astype(float), clusters, 1.0)
    assert max(_errors(*inferred.interval(), -share)) <= 0.033
    low, high = stats.clustered_share_interval(lost.astype(float), clusters)
    assert max(_errors(low, high, share)) <= 0.033


@pytest.mark.parametrize(
    ("conversations", "longest", "share"),
    [(30, 0.3, 0.3), (30, 0.3, 0.1), (50, 0.3, 0.2), (100, 0.2, 0.15), (200, 0.15, 0.1), (50, 0.5, 0.3)],
)
@pytest.mark.parametrize("bound", [_bound_of_difference, _bound_of_mean, _bound_without_range])
def test_a_long_conversation_that_happens_not_to_lose_hides_no_loss(bound, conversations, longest, share):
    assert _error_of_whole_conversations(bound, conversations, longest, share) <= 0.03


@pytest.mark.parametrize(
    ("conversations", "longest", "share"), [(30, 0.12, 0.68), (50, 0.11, 0.58), (100, 0.075, 0.58), (200, 0.057, 0.56)]
)
@pytest.mark.parametrize("bound", [_bound_of_difference, _bound_of_mean])
def test_the_chance_of_one_long_conversation_is_no_skewness_of_all(bound, conversations, longest, share):
    assert _error_of_whole_conversations(bound, conversations, longest, share) <= 0.027


def _error_of_whole_conversations(bound, conversations, longest, share):
    """One conversation has a share of all lines, others have three, and each loses all of its lines or none."""
    others = conversations - 1
    lengths = [round(longest / (1 - longest) * 3 * others)] + [3] * others
    clusters, lost = np.repeat(np.arange(conversations), lengths), np.arange(conversations)
    error = 0.0
    for loses, chance in ((False, 1 - share), (True, share)):
        by_conversation = np.column_stack([np.full(conversations, loses), np.arange(others) < lost[:, None]])
        is_above = bound(-by_conversation[:, clusters].astype(float), clusters) > -share
        error += chance * float(binomial(others, lost, share) @ is_above)
    return error


@pytest.mark.parametrize("lengths", LENGTHS)
def test_two_equal_runs_in_unequal_conversations_differ_in_at_most_6_of_100(lengths):
    clusters = np.repeat(np.arange(20), LENGTHS[lengths])
    differences = _alike(clusters, 0.5)
    se, (_, df) = stats.unbounded_error(differences, clusters), stats.standard_error(differences, clusters)
    assert (stats.t_test(differences.mean(axis=-1), se, df) < stats.ALPHA).mean() <= 0.062
    inferred = stats.infer_bounded_difference(np.clip(0.3 * differences, -1, 1), clusters, 1.0)
    assert (inferred.p() < stats.ALPHA).mean() <= 0.06


def _alike(clusters, alike, simulations=5_000):
    generator = rng(len(clusters))
    shared = generator.standard_normal((simulations, clusters.max() + 1))[:, clusters]
    return np.sqrt(alike) * shared + np.sqrt(1 - alike) * generator.standard_normal((simulations, len(clusters)))


@pytest.mark.parametrize(("n", "most"), [(20, 1.25), (50, 1.10)])
def test_scattered_differences_have_intervals_hardly_wider_than_students(n, most):
    sample = np.clip(rng(n).normal(0, 0.3, (5_000, n)), -1, 1)
    low, high = stats.infer_bounded_difference(sample, None, 1.0).interval()
    least, greatest = stats.t_interval(sample.mean(axis=-1), *stats.standard_error(sample))
    assert (high - low).mean() <= most * (greatest - least).mean()
