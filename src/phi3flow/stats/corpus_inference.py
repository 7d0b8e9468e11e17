"""Intervals and tests of metrics that only a whole run has, by resampling conversations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.records import Estimate
from phi3flow.stats.estimates import ALPHA, ROUNDING, Floats, shared_clusters, sum_by_cluster, t_quantile
from phi3flow.stats.pairs import PairedComparison, lines_needed, minimum_detectable_effect
from phi3flow.stats.resampling import DRAWS, bootstrap_sums, swapped_sums

Metric = Callable[[Floats], Floats]


def estimate_corpus(
    counts: ArrayLike,
    metric: Metric,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_failed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """Estimate a metric of the run from its lines' counts, (n, K), with a bootstrap interval over conversations.

    The interval is the expanded percentile one (Hesterberg 2015), as wide in small samples as Student's t.
    """
    lines = np.asarray(counts, dtype=float)
    if len(lines) == 0:
        return Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines")
    sums = _by_cluster(lines, clusters)
    value = float(metric(lines.sum(axis=0)))
    if len(sums) == 1:
        return Estimate(mean=value, n=len(lines), n_failed=n_failed, method="one cluster has no interval")
    drawn = np.concatenate([metric(totals) for totals in bootstrap_sums(sums, rng=rng, draws=draws)])
    low, high = _expanded_percentiles(drawn, len(sums))
    method = _method(len(sums) < len(lines), draws)
    return Estimate(
        mean=value, low=low, high=high, se=float(drawn.std(ddof=1)), n=len(lines), n_failed=n_failed, method=method
    )


def compare_corpora(
    baseline: ArrayLike,
    candidate: ArrayLike,
    metric: Metric,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    draws: int = DRAWS,
) -> PairedComparison:
    """Compare a metric of two runs from the counts, (n, K) each, of their common lines.

    The interval and ``p`` come from a paired bootstrap over conversations, ``p_permutation`` from swapping the two
    runs' answers conversation by conversation (Riezler and Maxwell 2005). No line wins or loses.
    """
    left, right = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    n = len(left)
    if n == 0:
        return PairedComparison(n=0, method="no line is scored in both")
    mean = float(metric(right.sum(axis=0)) - metric(left.sum(axis=0)))
    sums = _by_cluster(np.concatenate([left, right], axis=1), clusters)
    first, second = np.split(sums, 2, axis=1)
    if np.array_equal(first, second):
        return PairedComparison(n=n, method="no line differs", mean=0.0, low=0.0, high=0.0, p=1.0, p_permutation=1.0)
    if len(sums) == 1:
        return PairedComparison(n=n, method="one cluster has no interval", mean=mean)
    drawn = np.concatenate(
        [
            np.subtract(*map(metric, np.split(totals, 2, axis=1)[::-1]))
            for totals in bootstrap_sums(sums, rng=rng, draws=draws)
        ]
    )
    low, high = _expanded_percentiles(drawn, len(sums))
    se = float(drawn.std(ddof=1))
    return PairedComparison(
        n=n,
        method=f"paired {_method(len(sums) < n, draws)}",
        mean=mean,
        low=low,
        high=high,
        se=se,
        p=_bootstrap_p(drawn, len(sums)),
        p_permutation=_swap_p(first, second, metric, mean, rng, draws),
        minimum_detectable_effect=minimum_detectable_effect(se, df=len(sums) - 1) if se else None,
        lines_needed=lines_needed(se * math.sqrt(n), mean) if se and mean else None,
    )


def _by_cluster(lines: Floats, clusters: ArrayLike | None) -> Floats:
    codes = shared_clusters(clusters, len(lines))
    return lines if codes is None else sum_by_cluster(lines.T, codes).T


def _expanded_percentiles(drawn: Floats, count: int) -> tuple[float, float]:
    share = special.ndtr(math.sqrt(count / (count - 1)) * t_quantile(ALPHA / 2, count - 1))
    low, high = np.quantile(drawn, [share, 1 - share])
    return float(low), float(high)


def _bootstrap_p(drawn: Floats, count: int) -> float:
    """Return the level at which the expanded percentile interval ends at 0."""
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    share = min((beyond + 1) / (len(drawn) + 1), 0.5)
    return float(2 * special.stdtr(count - 1, math.sqrt((count - 1) / count) * special.ndtri(share)))


def _swap_p(
    first: Floats, second: Floats, metric: Metric, observed: float, rng: np.random.Generator, draws: int
) -> float:
    extreme, least = 0, abs(observed) * (1 - ROUNDING)
    for left, right in swapped_sums(first, second, rng=rng, draws=draws):
        extreme += int((np.abs(metric(right) - metric(left)) >= least).sum())
    return (extreme + 1) / (draws + 1)


def _method(clustered: bool, draws: int) -> str:
    return f"{'clustered ' if clustered else ''}bootstrap, {draws:,} draws"
