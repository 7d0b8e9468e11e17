"""Intervals and tests of metrics that only a whole run has, by resampling conversations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.records.scores import Estimate
from phi3flow.stats.bounded_means import BoundedMean
from phi3flow.stats.corpus import Metric
from phi3flow.stats.corpus_tables import CorpusTable
from phi3flow.stats.estimates import ALPHA, LEAST_CONVERSATIONS, ROUNDING, Floats, t_quantile
from phi3flow.stats.pairs import PairedComparison
from phi3flow.stats.power import Spread
from phi3flow.stats.resampling import DRAWS, bootstrap_sums, swapped_sums

_RESOLVED = 10  # draws that must lie beyond a percentile for it to be read off them


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
    narrower than that of what each conversation contributes (``Contributions``): a few wrong answers among
    right ones are no sample of how many others have, nor is one long conversation. All metrics share the draws, which
    take most of the time. There is no interval, and ``note`` says why, of fewer than six conversations (of four it
    covers 0.85 to 0.89, of six 0.93 to 0.98), nor where every draw gives the same.
    """
    sides = [(np.asarray(counts, dtype=float), metric) for counts, metric in corpora]
    n = len(sides[0][0])
    if n == 0:
        return [Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines") for _ in sides]
    tables = [CorpusTable.of_run(counts, metric, clusters) for counts, metric in sides]
    count, method = len(tables[0].sums), _method(tables[0], draws)
    estimates = [Estimate(mean=table.value, n=n, n_failed=n_failed, method=method) for table in tables]
    if count < LEAST_CONVERSATIONS:
        note = _too_few(count, "conversations" if count < n else "lines")
        return [estimate.model_copy(update={"note": note}) for estimate in estimates]
    return [
        estimate.model_copy(update=_Inference(table, count, drawn).bounds())
        for estimate, table, drawn in zip(estimates, tables, _bootstrap(tables, rng, draws), strict=True)
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

    The interval and ``p`` come from a paired bootstrap over conversations, no narrower than what each contributes to
    the difference (``Contributions``), ``p_permutation`` from swapping the two runs' answers conversation by
    conversation (Riezler and Maxwell 2005). No line wins or loses. All metrics share the draws, which take most of the
    time. ``tests`` share the level of ``simultaneous``, as of what is planned.

    The sample is the conversations on which the runs differ: where few of many do, the others say nothing of how far a
    difference goes. Fewer than six have no interval and no p, and ``note`` says so; where none differs ``p`` is 1.
    """
    sides = [(np.asarray(left, dtype=float), np.asarray(right, dtype=float), metric) for left, right, metric in corpora]
    if len(sides[0][0]) == 0:
        return [PairedComparison(n=0, method="no line is scored in both") for _ in sides]
    tables = [CorpusTable.of_pair(left, right, metric, clusters) for left, right, metric in sides]
    comparisons = [_undecided(table, draws) for table in tables]
    enough = [index for index, table in enumerate(tables) if table.differing >= LEAST_CONVERSATIONS]
    if enough:
        inferred = _compare_tables([tables[index] for index in enough], rng, draws, tests)
        for index, comparison in zip(enough, inferred, strict=True):
            comparisons[index] = comparison
    return comparisons


@dataclass(frozen=True)
class _Inference:
    """What is inferred of a table's metric by its ``values``, (draws,), of resampled conversations.

    ``count`` of them matter.
    """

    table: CorpusTable
    count: int
    values: Floats

    @cached_property
    def se(self) -> float:
        """The bootstrap's standard error."""
        se = float(self.values.std(ddof=1))
        return se if se > ROUNDING * float(np.abs(self.values).max()) else 0.0

    @cached_property
    def contributed(self) -> BoundedMean:
        return self.table.infer()

    def bounds(self) -> dict[str, Any]:
        """Return the fields low, high and se; none of them but a note where all draws give the same."""
        if self.se == 0:
            return {"note": "every draw of conversations gives the same: how far it scatters cannot be seen"}
        low, high = self.interval(ALPHA)
        return {"low": low, "high": high, "se": max(self.se, float(self.contributed.se_low))}

    def interval(self, level: float) -> tuple[float, float]:
        """Return the hull of the bootstrap's interval and that of the contributions."""
        (low, high), (lower, higher) = self._percentiles(level), self.contributed.interval(level)
        least, most = self.contributed.ends
        return max(min(low, float(lower)), least), min(max(high, float(higher)), most)

    @property
    def p(self) -> float:
        """The level at which the interval ends at 0."""
        beyond = min((self.values <= 0).sum(), (self.values >= 0).sum())
        share = min((beyond + 1) / (len(self.values) + 1), 0.5)
        expansion = math.sqrt((self.count - 1) / self.count)
        p = float(2 * special.stdtr(self.count - 1, expansion * special.ndtri(share)))
        return max(p, float(self.contributed.p())) if self.se else p

    @property
    def spread(self) -> Spread:
        """What lines needed are planned by; a conversation that matters is a degree of freedom."""
        if not self.se:
            return Spread(0.0)
        n, (low, high) = len(self.table.lines), self.contributed.ends
        width = (high - low) / 2 if math.isfinite(low) else None
        length = n / len(self.table.sums)
        return Spread.of_differences(self.se * math.sqrt(n), width, unit=n / self.count, length=length)

    def _percentiles(self, level: float) -> tuple[float, float]:
        """Return the expanded percentiles; of a level that the draws do not resolve, no narrower than Student's t."""
        quantile = math.sqrt(self.count / (self.count - 1)) * t_quantile(1 - level / 2, self.count - 1)
        share = special.ndtr(-quantile)
        low, high = (float(bound) for bound in np.quantile(self.values, [share, 1 - share]))
        if share * len(self.values) < _RESOLVED:
            middle = float(np.median(self.values))
            low, high = min(low, middle - quantile * self.se), max(high, middle + quantile * self.se)
        return low, high


def _undecided(table: CorpusTable, draws: int) -> PairedComparison:
    """Return the comparison of a table of which too few conversations differ."""
    n, count, units = len(table.lines), len(table.sums), "conversations" if table.conversations else "lines"
    differing, mean, conversations = table.differing, table.value, table.conversations
    if not differing:
        note = f"none of {count:,} {units} differs: what others would show cannot be seen"
        return PairedComparison(
            n=n,
            method="no line differs",
            mean=mean,
            p=1.0,
            p_permutation=1.0,
            note=note,
            conversations=conversations,
        )
    note = _too_few(count, units) if count < LEAST_CONVERSATIONS else _too_few(differing, f"{units} that differ")
    method = f"paired {_method(table, draws)}"
    return PairedComparison(n=n, method=method, mean=mean, note=note, conversations=conversations)


def _compare_tables(
    tables: Sequence[CorpusTable], rng: np.random.Generator, draws: int, tests: int
) -> Iterable[PairedComparison]:
    bootstrapped, permuted = _bootstrap(tables, rng, draws), _swap_p(tables, rng, draws)
    for table, drawn, p_permutation in zip(tables, bootstrapped, permuted, strict=True):
        inference, n, level = _Inference(table, table.differing, drawn), len(table.lines), ALPHA / tests
        spread = inference.spread
        comparison = PairedComparison(
            n=n,
            method=f"paired {_method(table, draws)}",
            mean=table.value,
            p=inference.p,
            p_permutation=p_permutation,
            minimum_detectable_effect=spread.minimum_detectable_effect(n, level=level),
            lines_needed=spread.lines_needed(table.value, level=level),
            simultaneous=inference.interval(level) if tests > 1 and inference.se else None,
            conversations=table.conversations,
        )
        yield replace(comparison, **inference.bounds())


def _too_few(count: int, units: str) -> str:
    return f"{count:,} {units}: at least {LEAST_CONVERSATIONS} are needed for a verdict"


def _bootstrap(tables: Sequence[CorpusTable], rng: np.random.Generator, draws: int) -> list[Floats]:
    """Return each metric's values, (draws,)."""
    totals = bootstrap_sums(np.concatenate([table.sums for table in tables], axis=1), rng=rng, draws=draws)
    return _apply(tables, totals)


def _swap_p(tables: Sequence[CorpusTable], rng: np.random.Generator, draws: int) -> list[float]:
    as_is, swapped = (
        np.concatenate(sums, axis=1) for sums in ([table.sums for table in tables], [table.swapped for table in tables])
    )
    values = _apply(tables, swapped_sums(as_is, swapped, rng=rng, draws=draws))
    extreme = [
        (np.abs(drawn) >= abs(table.value) * (1 - ROUNDING)).sum() for table, drawn in zip(tables, values, strict=True)
    ]
    return [(int(count) + 1) / (draws + 1) for count in extreme]


def _apply(tables: Sequence[CorpusTable], totals: Iterable[Floats]) -> list[Floats]:
    """Return each metric's values from the totals of all tables' columns, which come in batches of draws."""
    ends = np.cumsum([table.sums.shape[1] for table in tables])[:-1]
    values = [
        [table.metric(counts) for table, counts in zip(tables, np.split(batch, ends, axis=1), strict=True)]
        for batch in totals
    ]
    return [np.concatenate(batches) for batches in zip(*values, strict=True)]


def _method(table: CorpusTable, draws: int) -> str:
    return f"{'clustered ' if table.conversations else ''}bootstrap, {draws:,} draws"
