"""The permutation test: exact where few lines differ, by draws else, and at its level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from phi3flow import stats
from phi3flow.stats.resampling import bootstrap_sums, swapped_sums
from tests.support.simulations import conversations, correlated, rng


def test_the_permutation_test_is_exact_where_few_lines_differ():
    differences = [0.3, -0.1, 0.2, 0.0, 0.4]
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in np.ndindex(2, 2, 2, 2, 2)]
    sums = [2 * total - sum(differences) for total in sums]
    expected = np.mean([abs(total) >= sum(differences) - 1e-12 for total in sums])
    assert stats.sign_flip_p(differences, rng=rng()) == pytest.approx(expected)


def test_the_permutation_test_by_draws_repeats_with_its_seed_and_agrees_with_the_exact_one():
    differences = rng(5).normal(0.3, 1, 13)
    exact = stats.sign_flip_p(differences, rng=rng(), draws=2**13)
    drawn = stats.sign_flip_p(differences, rng=rng(7), draws=8000)
    assert drawn == stats.sign_flip_p(differences, rng=rng(7), draws=8000)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 8000))
    assert stats.sign_flip_p(np.full(500, 0.2), rng=rng()) == pytest.approx(1 / 10_001)


def test_the_permutation_test_flips_whole_clusters():
    differences = np.full(20, 0.5)
    assert stats.sign_flip_p(differences, clusters=np.repeat(np.arange(4), 5), rng=rng()) == pytest.approx(2 / 2**4)


@pytest.mark.parametrize("lines", [1, 5])
def test_the_permutation_test_keeps_its_level(lines):
    differences = correlated(rng(lines), 10 * lines, lines)[:1000]
    clusters = conversations(10 * lines, lines)
    rejected = [stats.sign_flip_p(row, clusters=clusters, rng=rng()) < stats.ALPHA for row in differences]
    assert 0.03 <= np.mean(rejected) <= 0.07  # 1,000 samples: 0.05 +- 3 standard errors


@pytest.mark.parametrize(
    "statistics",
    [
        rng(1).integers(0, 60, (200, 3)).astype(float),
        rng(2).integers(10_000, 1_500_000, (200, 3)).astype(float),
        rng(3).integers(10**9, 10**10, (200, 3)).astype(float),
        rng(4).normal(-50, 20, (200, 3)),
    ],
    ids=["small", "beyond single precision together", "beyond single precision alone", "not whole"],
)
def test_sums_are_those_of_double_precision(statistics):
    """How often each cluster was drawn is what the same draws make of the unit matrix."""
    ones = np.eye(len(statistics))
    times = np.concatenate(list(bootstrap_sums(ones, rng=rng(9), draws=50)))
    sums = np.concatenate(list(bootstrap_sums(statistics, rng=rng(9), draws=50)))
    np.testing.assert_allclose(sums, times @ statistics, rtol=1e-14)
    swaps = np.concatenate(list(swapped_sums(np.zeros_like(ones), ones, rng=rng(9), draws=50)))
    swapped = np.concatenate(list(swapped_sums(np.zeros_like(statistics), statistics, rng=rng(9), draws=50)))
    np.testing.assert_allclose(swapped, swaps @ statistics, rtol=1e-13)
