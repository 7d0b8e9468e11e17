"""Intervals and tests of metrics that only a whole run has, by resampling conversations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.records.scores import Estimate
from phi3flow.stats.estimates import ALPHA, ROUNDING, Floats, shared_clusters, sum_by_cluster, t_quantile
from phi3flow.stats.pairs import PairedComparison, lines_needed, minimum_detectable_effect, widened
from phi3flow.stats.resampling import DRAWS, bootstrap_sums, swapped_sums

Metric = Callable[[Floats], Floats]


def estimate_corpora(
    corpora: Sequence[tuple[ArrayLike, Metric]],
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_failed: int = 0,
    draws: int = DRAWS,
) -> list[Estimate]:
    """Estimate metrics of the run from its lines' counts, (n, K) for each, with a bootstrap interval by conversation.

    The interval is the expanded percentile one (Hesterberg 2015), as wide in small samples as Student's t. All metrics
    share the draws, which take most of the time.
    """
    tables = [(np.asarray(counts, dtype=float), metric) for counts, metric in corpora]
    n = len(tables[0][0])
    if n == 0:
        return [Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines") for _ in tables]
    values = [float(metric(counts.sum(axis=0))) for counts, metric in tables]
    grouped = [(_by_cluster(counts, clusters), metric) for counts, metric in tables]
    count = len(grouped[0][0])
    if count == 1:
        method = "one cluster has no interval"
        return [Estimate(mean=value, n=n, n_failed=n_failed, method=method) for value in values]
    method, estimates = _method(count < n, draws), list[Estimate]()
    for value, drawn in zip(values, _bootstrap(grouped, rng, draws), strict=True):
        low, high = _expanded_percentiles(drawn, count)
        se = float(drawn.std(ddof=1))
        estimates.append(Estimate(mean=value, low=low, high=high, se=se, n=n, n_failed=n_failed, method=method))
    return estimates


def compare_corpora(
    corpora: Sequence[tuple[ArrayLike, ArrayLike, Metric]],
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    draws: int = DRAWS,
    tests: int = 1,
) -> list[PairedComparison]:
    """Compare metrics of two runs from the counts, (n, K) of the baseline and of the candidate, of their common lines.

    The interval and ``p`` come from a paired bootstrap over conversations, ``p_permutation`` from swapping the two
    runs' answers conversation by conversation (Riezler and Maxwell 2005). No line wins or loses. All metrics share the
    draws, which take most of the time.
    """
    sides = [(np.asarray(left, dtype=float), np.asarray(right, dtype=float)) for left, right, _ in corpora]
    n = len(sides[0][0])
    if n == 0:
        return [PairedComparison(n=0, method="no line is scored in both") for _ in sides]
    tables = [
        (_by_cluster(np.concatenate(side_by_side, axis=1), clusters), _difference(metric))
        for side_by_side, (_, _, metric) in zip(sides, corpora, strict=True)
    ]
    means = [float(difference(sums.sum(axis=0))) for sums, difference in tables]
    comparisons = {
        index: PairedComparison(n=n, method="no line differs", mean=0.0, low=0.0, high=0.0, p=1.0, p_permutation=1.0)
        for index, (sums, _) in enumerate(tables)
        if not (sums[:, : sums.shape[1] // 2] - sums[:, sums.shape[1] // 2 :]).any()
    }
    differing = [index for index in range(len(tables)) if index not in comparisons]
    if len(tables[0][0]) == 1:
        method = "one cluster has no interval"
        comparisons |= {index: PairedComparison(n=n, method=method, mean=means[index]) for index in differing}
    elif differing:
        compared = _compare_tables(
            [tables[index] for index in differing], [means[index] for index in differing], n, rng, draws, tests
        )
        comparisons |= dict(zip(differing, compared, strict=True))
    return [comparisons[index] for index in range(len(tables))]


_Table = tuple[Floats, Metric]


def _compare_tables(
    tables: Sequence[_Table], means: Sequence[float], n: int, rng: np.random.Generator, draws: int, tests: int
) -> Iterable[PairedComparison]:
    """Yield the comparison of each table: the clusters' sums, (C, 2K), and the difference of a metric."""
    count = len(tables[0][0])
    bootstrapped = _bootstrap(tables, rng, draws)
    for mean, drawn, p in zip(means, bootstrapped, _swap_p(tables, means, rng, draws), strict=True):
        low, high = _expanded_percentiles(drawn, count)
        se = float(drawn.std(ddof=1))
        yield PairedComparison(
            n=n,
            method=f"paired {_method(count < n, draws)}",
            mean=mean,
            low=low,
            high=high,
            se=se,
            p=_bootstrap_p(drawn, count),
            p_permutation=p,
            minimum_detectable_effect=minimum_detectable_effect(se, df=count - 1) if se else None,
            lines_needed=lines_needed(se * math.sqrt(n), mean) if se and mean else None,
            simultaneous=widened(mean, low, high, tests),
        )


def _difference(metric: Metric) -> Metric:
    """Return what computes candidate minus baseline from their counts side by side."""

    def difference(counts: Floats) -> Floats:
        left, right = np.split(counts, 2, axis=-1)
        return np.asarray(metric(right) - metric(left))

    return difference


def _bootstrap(tables: Sequence[_Table], rng: np.random.Generator, draws: int) -> list[Floats]:
    """Return each metric's values, (draws,)."""
    totals = bootstrap_sums(np.concatenate([sums for sums, _ in tables], axis=1), rng=rng, draws=draws)
    return _apply(tables, totals)


def _swap_p(tables: Sequence[_Table], means: Sequence[float], rng: np.random.Generator, draws: int) -> list[float]:
    as_is = np.concatenate([sums for sums, _ in tables], axis=1)
    swapped = np.concatenate([np.roll(sums, sums.shape[1] // 2, axis=1) for sums, _ in tables], axis=1)
    values = _apply(tables, swapped_sums(as_is, swapped, rng=rng, draws=draws))
    extreme = [(np.abs(drawn) >= abs(mean) * (1 - ROUNDING)).sum() for drawn, mean in zip(values, means, strict=True)]
    return [(int(count) + 1) / (draws + 1) for count in extreme]


def _apply(tables: Sequence[_Table], totals: Iterable[Floats]) -> list[Floats]:
    """Return each metric's values from the totals of all tables' columns, which come in batches of draws."""
    ends = np.cumsum([sums.shape[1] for sums, _ in tables])[:-1]
    values = [
        [metric(counts) for (_, metric), counts in zip(tables, np.split(batch, ends, axis=1), strict=True)]
        for batch in totals
    ]
    return [np.concatenate(batches) for batches in zip(*values, strict=True)]


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


def _method(clustered: bool, draws: int) -> str:
    return f"{'clustered ' if clustered else ''}bootstrap, {draws:,} draws"
