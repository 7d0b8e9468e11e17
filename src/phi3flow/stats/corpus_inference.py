"""Intervals and tests of metrics that only a whole run has, by resampling conversations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.records.scores import Estimate
from phi3flow.stats.bounded_means import infer_bounded_mean
from phi3flow.stats.corpus import CORPUS_ENDS
from phi3flow.stats.estimates import (
    ALPHA,
    LEAST_CONVERSATIONS,
    ROUNDING,
    Floats,
    shared_clusters,
    sum_by_cluster,
    t_quantile,
)
from phi3flow.stats.pairs import PairedComparison
from phi3flow.stats.power import Spread
from phi3flow.stats.resampling import DRAWS, bootstrap_sums, swapped_sums

_RESOLVED = 10  # draws that must lie beyond a percentile for it to be read off them

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

    The interval is the expanded percentile one (Hesterberg 2015), as wide in small samples as Student's t. It is no
    narrower than that of ``infer_bounded_mean`` over what each conversation contributes (its jackknife pseudo value): a
    few wrong answers among right ones are no sample of how many others have. All metrics
    share the draws, which take most of the time. There is no interval, and ``note`` says why, of fewer than six
    conversations (of four it covers 0.85 to 0.89, of six 0.93 to 0.98), nor where every draw gives the same.
    """
    tables = [(np.asarray(counts, dtype=float), metric) for counts, metric in corpora]
    n = len(tables[0][0])
    if n == 0:
        return [Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines") for _ in tables]
    grouped = [(_by_cluster(counts, clusters), metric) for counts, metric in tables]
    count = len(grouped[0][0])
    estimates = [
        Estimate(mean=float(metric(sums.sum(axis=0))), n=n, n_failed=n_failed, method=_method(count < n, draws))
        for sums, metric in grouped
    ]
    if count < LEAST_CONVERSATIONS:
        note = _too_few(count, "conversations" if count < n else "lines")
        return [estimate.model_copy(update={"note": note}) for estimate in estimates]
    bootstrapped = (_Bootstrap(drawn, count) for drawn in _bootstrap(grouped, rng, draws))
    return [
        estimate.model_copy(update=_widened(sample.bounds(), sums, metric))
        for estimate, sample, (sums, metric) in zip(estimates, bootstrapped, grouped, strict=True)
    ]


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
    draws, which take most of the time. ``tests`` share the level of ``simultaneous``, as of what is planned.

    The sample is the conversations on which the runs differ: where few of many do, the others say nothing of how far a
    difference goes. Fewer than six have no interval and no p, and ``note`` says so; where none differs ``p`` is 1.
    """
    sides = [(np.asarray(left, dtype=float), np.asarray(right, dtype=float)) for left, right, _ in corpora]
    n = len(sides[0][0])
    if n == 0:
        return [PairedComparison(n=0, method="no line is scored in both") for _ in sides]
    tables = [
        (_by_cluster(np.concatenate(side_by_side, axis=1), clusters), _difference(metric))
        for side_by_side, (_, _, metric) in zip(sides, corpora, strict=True)
    ]
    comparisons = [_undecided(table, n, draws) for table in tables]
    enough = [index for index, (sums, _) in enumerate(tables) if _count_differing(sums) >= LEAST_CONVERSATIONS]
    if enough:
        inferred = _compare_tables([tables[index] for index in enough], n, rng, draws, tests)
        for index, comparison in zip(enough, inferred, strict=True):
            comparisons[index] = comparison
    return comparisons


def _widened(bounds: dict[str, Any], sums: Floats, metric: Metric) -> dict[str, Any]:
    """Return the bounds, no narrower than those of the mean of the conversations' contributions, (C, K) counts."""
    if metric not in CORPUS_ENDS or "low" not in bounds:
        return bounds
    count, total = len(sums), sums.sum(axis=0)
    value = metric(total)
    contributions = (count - 1) * (value - metric(total - sums))
    worst, best = (count + 1) * (metric(total + CORPUS_ENDS[metric](total / count)) - value)
    contributions -= contributions.mean()
    ends = float(value + min(worst, contributions.min())), float(value + max(best, contributions.max()))
    inferred = infer_bounded_mean(value + contributions, None, ends)
    low, high = inferred.interval()
    least, most = (float(metric(end)) for end in CORPUS_ENDS[metric](total))
    return {
        **bounds,
        "low": max(min(bounds["low"], float(low)), least),
        "high": min(max(bounds["high"], float(high)), most),
        "se": max(bounds["se"], float(inferred.se_low)),
    }


_Table = tuple[Floats, Metric]


@dataclass(frozen=True)
class _Bootstrap:
    """A metric's ``values``, (draws,), of resampled conversations, of which ``count`` matter."""

    values: Floats
    count: int

    @property
    def se(self) -> float:
        se = float(self.values.std(ddof=1))
        return se if se > ROUNDING * float(np.abs(self.values).max()) else 0.0

    def bounds(self) -> dict[str, Any]:
        """Return the fields low, high and se; none of them but a note where all draws give the same."""
        if self.se == 0:
            return {"note": "every draw of conversations gives the same: how far it scatters cannot be seen"}
        low, high = self.interval(ALPHA)
        return {"low": low, "high": high, "se": self.se}

    def interval(self, level: float) -> tuple[float, float]:
        """Return the expanded percentiles; of a level that the draws do not resolve, no narrower than Student's t."""
        quantile = math.sqrt(self.count / (self.count - 1)) * t_quantile(1 - level / 2, self.count - 1)
        share = special.ndtr(-quantile)
        low, high = (float(bound) for bound in np.quantile(self.values, [share, 1 - share]))
        if share * len(self.values) < _RESOLVED:
            middle = float(np.median(self.values))
            low, high = min(low, middle - quantile * self.se), max(high, middle + quantile * self.se)
        return low, high

    @property
    def p(self) -> float:
        """The level at which the expanded percentile interval ends at 0."""
        beyond = min((self.values <= 0).sum(), (self.values >= 0).sum())
        share = min((beyond + 1) / (len(self.values) + 1), 0.5)
        expansion = math.sqrt((self.count - 1) / self.count)
        return float(2 * special.stdtr(self.count - 1, expansion * special.ndtri(share)))


def _undecided(table: _Table, n: int, draws: int) -> PairedComparison:
    """Return the comparison of a table of which too few conversations differ."""
    sums, difference = table
    differing, units = _count_differing(sums), "conversations" if len(sums) < n else "lines"
    mean = float(difference(sums.sum(axis=0)))
    conversations = len(sums) if len(sums) < n else None
    if not differing:
        note = f"none of {len(sums):,} {units} differs: what others would show cannot be seen"
        return PairedComparison(
            n=n,
            method="no line differs",
            mean=mean,
            p=1.0,
            p_permutation=1.0,
            note=note,
            conversations=conversations,
        )
    note = (
        _too_few(len(sums), units) if len(sums) < LEAST_CONVERSATIONS else _too_few(differing, f"{units} that differ")
    )
    method = f"paired {_method(len(sums) < n, draws)}"
    return PairedComparison(n=n, method=method, mean=mean, note=note, conversations=conversations)


def _compare_tables(
    tables: Sequence[_Table], n: int, rng: np.random.Generator, draws: int, tests: int
) -> Iterable[PairedComparison]:
    """Yield the comparison of each table: the clusters' sums, (C, 2K), and the difference of a metric."""
    means = [float(difference(sums.sum(axis=0))) for sums, difference in tables]
    bootstrapped, permuted = _bootstrap(tables, rng, draws), _swap_p(tables, means, rng, draws)
    for (sums, _), mean, drawn, p_permutation in zip(tables, means, bootstrapped, permuted, strict=True):
        sample = _Bootstrap(drawn, _count_differing(sums))
        spread, level = Spread(sample.se * math.sqrt(n), unit=n / sample.count), ALPHA / tests
        comparison = PairedComparison(
            n=n,
            method=f"paired {_method(len(sums) < n, draws)}",
            mean=mean,
            p=sample.p,
            p_permutation=p_permutation,
            minimum_detectable_effect=spread.minimum_detectable_effect(n, level=level),
            lines_needed=spread.lines_needed(mean, level=level),
            simultaneous=sample.interval(level) if tests > 1 and sample.se else None,
            conversations=len(sums) if len(sums) < n else None,
        )
        yield replace(comparison, **sample.bounds())


def _count_differing(sums: Floats) -> int:
    left, right = np.split(sums, 2, axis=1)
    return int((left != right).any(axis=1).sum())


def _too_few(count: int, units: str) -> str:
    return f"{count:,} {units}: at least {LEAST_CONVERSATIONS} are needed for a verdict"


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


def _method(clustered: bool, draws: int) -> str:
    return f"{'clustered ' if clustered else ''}bootstrap, {draws:,} draws"
