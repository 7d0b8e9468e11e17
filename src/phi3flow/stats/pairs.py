"""Two runs' scores of the same lines: the difference, its interval, its tests, and what it takes to be sure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.bounded_means import infer_bounded_difference
from phi3flow.stats.cautions import note_few_clusters, note_few_lines, note_range_left, note_unbounded
from phi3flow.stats.estimates import (
    ALPHA,
    ROUNDING,
    UNIT,
    Clusters,
    Floats,
    enough_lines,
    finite,
    is_binary,
    is_within,
    optional,
    shared_clusters,
    standard_error,
    t_interval,
    t_test,
    unbounded_error,
    within,
)
from phi3flow.stats.paired_shares import mcnemar_mid_p, tango_interval
from phi3flow.stats.power import Discordance, Spread
from phi3flow.stats.resampling import DRAWS, sign_flip_p


@dataclass(frozen=True)
class PairedComparison:
    """Candidate minus baseline over paired lines; None where a figure is not defined for these data.

    ``se`` is the mean difference's standard error; ``p`` belongs to ``method``, ``p_permutation`` to the
    sign-flip test; ``lines_needed`` show the observed difference with 80 % power. ``simultaneous`` is the interval at
    the level that several tests share, as are those two; ``note`` says why there is no verdict, or what to beware of.
    The lines come in ``conversations``, the ``longest`` of so many lines, with ``df`` degrees of freedom; None where
    each is one of its own.
    """

    n: int
    method: str
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    se: float | None = None
    p: float | None = None
    p_permutation: float | None = None
    minimum_detectable_effect: float | None = None
    lines_needed: int | None = None
    simultaneous: tuple[float, float] | None = None
    note: str | None = None
    conversations: int | None = None
    longest: int | None = None
    df: float | None = None


def compare_pairs(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    draws: int = DRAWS,
    score_range: ScoreRange | None = UNIT,
    tests: int = 1,
) -> PairedComparison:
    """Compare two runs' scores of the same lines; ``tests`` of them share the level.

    Scores that are all an end of their range, as 0/1 are, without shared clusters: Tango's interval and the mid-p
    McNemar test. Others of a range: t with a pseudo difference at each end (``infer_bounded_difference``). Without a
    range: Student's t. Where lines share a cluster, each by cluster. Beside it, the sign-flip permutation test by
    cluster. No interval has width zero. What differs by rounding only is a tie.
    """
    left, right = finite(baseline), finite(candidate)
    if left.shape != right.shape:
        raise ValueError(f"paired scores come in pairs, not {len(left)} against {len(right)}")
    n = len(left)
    if n == 0:
        return PairedComparison(n=0, method="no line is scored in both", wins=0, losses=0, ties=0)
    differences = _Differences.of(left, right, shared_clusters(clusters, n), score_range)
    p = sign_flip_p(differences.values, rng=rng, clusters=differences.clusters, draws=draws)
    return differences.compare(tests, p_permutation=p)


@dataclass(frozen=True)
class _Inference:
    """The interval at a level and p, nan where there is none, by the method that the data call for."""

    method: str
    p: float
    interval: Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class _Differences:
    """Candidate minus baseline by line, (n,), and their mean; ``se`` is nan where it has no degree of freedom.

    ``width`` is that of the scores' range, None where they have none; ``binary`` are scores that are all its ends;
    ``too_few`` are the clusters.
    """

    values: Floats
    clusters: Clusters | None
    width: float | None
    binary: bool
    wins: int
    losses: int
    mean: float
    se: float
    df: float
    too_few: bool
    note: str | None

    @classmethod
    def of(cls, left: Floats, right: Floats, clusters: Clusters | None, score_range: ScoreRange | None) -> _Differences:
        left_range, width, binary = None, None, False
        if score_range and not (is_within(left, score_range) and is_within(right, score_range)):
            left_range, score_range = note_range_left(score_range), None
        if score_range:
            left, right = within(left, score_range), within(right, score_range)
            least, width = score_range[0], score_range[1] - score_range[0]
            binary = is_binary((left - least) / width) and is_binary((right - least) / width)
        values = _without_rounding(left, right, width)
        se, df = standard_error(values, clusters)
        few = note_few_clusters(clusters, df)
        note = left_range or few
        if not width:
            note = note or note_unbounded(len(values), float(se)) or note_few_lines(values, clusters)
        wins, losses, mean = int((values > 0).sum()), int((values < 0).sum()), float(values.mean())
        return cls(values, clusters, width, binary, wins, losses, mean, float(se), df, few is not None, note)

    def compare(self, tests: int, *, p_permutation: float) -> PairedComparison:
        inference, scatter, level, n = self._infer(), self._scatter, ALPHA / tests, len(self.values)
        low, high = inference.interval(ALPHA)
        lengths = None if self.clusters is None else np.bincount(self.clusters)
        conversations = None if lengths is None else len(lengths)
        needed = scatter.lines_needed(self.mean, level=level)
        return PairedComparison(
            n=n,
            method=inference.method,
            wins=self.wins,
            losses=self.losses,
            ties=n - self.wins - self.losses,
            mean=self.mean,
            low=optional(low),
            high=optional(high),
            se=optional(self.se),
            p=optional(inference.p),
            p_permutation=p_permutation,
            minimum_detectable_effect=None if self.too_few else scatter.minimum_detectable_effect(n, level=level),
            lines_needed=enough_lines(needed, n=n, conversations=conversations),
            simultaneous=inference.interval(level) if tests > 1 and not math.isnan(low) else None,
            note=self.note,
            conversations=conversations,
            longest=None if lengths is None else int(lengths.max()),
            df=None if lengths is None else optional(self.df),
        )

    def _infer(self) -> _Inference:
        if self.width and self.binary and self.clusters is None:
            return self._infer_share(self.width)
        if self.too_few:
            return _Inference(self._method("paired t"), math.nan, lambda _: (math.nan, math.nan))
        return self._infer_bounded(self.width) if self.width else self._infer_unbounded()

    def _infer_share(self, width: float) -> _Inference:
        def interval(level: float) -> tuple[float, float]:
            low, high = tango_interval(self.wins, self.losses, len(self.values), level)
            return float(low) * width, float(high) * width

        return _Inference("Tango interval, mid-p McNemar", float(mcnemar_mid_p(self.wins, self.losses)), interval)

    def _infer_bounded(self, width: float) -> _Inference:
        inferred = infer_bounded_difference(self.values, self.clusters, width)

        def interval(level: float) -> tuple[float, float]:
            low, high = inferred.interval(level)
            return float(low), float(high)

        return _Inference(self._method("paired t"), float(inferred.p()), interval)

    def _infer_unbounded(self) -> _Inference:
        se = float(unbounded_error(self.values, self.clusters))

        def interval(level: float) -> tuple[float, float]:
            low, high = t_interval(self.mean, se, self.df, level)
            return (float(low), float(high)) if se > 0 else (math.nan, math.nan)

        differs = self.wins + self.losses > 0
        p = (float(t_test(self.mean, se, self.df)) if se > 0 else math.nan) if differs else 1.0
        return _Inference(self._method("paired t"), p, interval)

    def _method(self, name: str) -> str:
        return name if self.clusters is None else f"clustered {name}"

    @property
    def _scatter(self) -> Discordance | Spread:
        n = len(self.values)
        if self.width and self.binary and self.clusters is None:
            return Discordance((self.wins + self.losses) / n, self.width)
        if math.isnan(self.se):
            return Spread(0.0)
        length = None if self.clusters is None else n / (int(self.clusters.max()) + 1)
        return Spread.of_differences(self.se * math.sqrt(n), self.width, unit=n / (self.df + 1), length=length)


def _without_rounding(left: Floats, right: Floats, width: float | None) -> Floats:
    """Return the differences, 0 where they are below 12 significant digits of the scores or of their range."""
    size = np.maximum(np.abs(left), np.abs(right))
    values = right - left
    values[np.abs(values) <= ROUNDING * np.maximum(size, width or size.mean())] = 0.0
    return values


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values in the given order (Holm 1979).

    A test without a p (None) stays None, and counts in the family as one that shows nothing.
    """
    ranked = [1.0 if p is None else p for p in p_values]
    adjusted, largest = list(p_values), 0.0
    for rank, index in enumerate(np.argsort(ranked, kind="stable")):
        if adjusted[index] is not None:
            largest = max(largest, min(1.0, ranked[index] * (len(ranked) - rank)))
            adjusted[index] = largest
    return adjusted
