"""Two runs' scores of the same lines: the difference, its interval, its tests, and what it takes to be sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.estimates import (
    ROUNDING,
    UNIT,
    Clusters,
    Floats,
    finite,
    is_binary,
    optional,
    shared_clusters,
    standard_error,
    t_interval,
    t_test,
)
from phi3flow.stats.paired_shares import mcnemar_mid_p, tango_interval
from phi3flow.stats.power import Discordance, Spread
from phi3flow.stats.resampling import DRAWS, sign_flip_p


@dataclass(frozen=True)
class PairedComparison:
    """Candidate minus baseline over paired lines; None where a figure is not defined for these data.

    ``se`` is the mean difference's standard error; ``p`` belongs to ``method``, ``p_permutation`` to the
    sign-flip test; ``lines_needed`` show the observed difference with 80 % power. ``simultaneous`` is the interval at
    the level that several tests share; ``note`` says why there is no verdict, or what to beware of.
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


def compare_pairs(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    draws: int = DRAWS,
    score_range: ScoreRange = UNIT,
) -> PairedComparison:
    """Compare two runs' scores of the same lines.

    Scores that are all an end of their range, as 0/1 are, without shared clusters: Tango's interval and the mid-p
    McNemar test. All others: the paired t test, clustered where lines share a cluster. Beside either, the sign-flip
    permutation test by cluster.
    All differences zero: difference 0, interval [0, 0], p = 1.
    """
    left, right = finite(baseline), finite(candidate)
    if left.shape != right.shape:
        raise ValueError(f"paired scores come in pairs, not {len(left)} against {len(right)}")
    n = len(left)
    if n == 0:
        return PairedComparison(n=0, method="no line is scored in both", wins=0, losses=0, ties=0)
    differences = _Differences.of(left, right, shared_clusters(clusters, n))
    inference = _infer(left, right, differences, score_range)
    return PairedComparison(
        n=n,
        method=inference.method,
        wins=differences.wins,
        losses=differences.losses,
        ties=n - differences.wins - differences.losses,
        mean=differences.mean,
        low=optional(inference.low),
        high=optional(inference.high),
        se=optional(differences.se),
        p=optional(inference.p),
        p_permutation=sign_flip_p(differences.values, rng=rng, clusters=differences.clusters, draws=draws),
        minimum_detectable_effect=inference.scatter.minimum_detectable_effect(n),
        lines_needed=inference.scatter.lines_needed(differences.mean),
    )


@dataclass(frozen=True)
class _Differences:
    """Candidate minus baseline by line, (n,), and their mean; ``se`` is nan where it has no degree of freedom."""

    values: Floats
    clusters: Clusters | None
    wins: int
    losses: int
    mean: float
    se: float
    df: int

    @classmethod
    def of(cls, left: Floats, right: Floats, clusters: Clusters | None) -> _Differences:
        values = right - left
        se, df = standard_error(values, clusters)
        wins, losses = int((values > 0).sum()), int((values < 0).sum())
        return cls(values, clusters, wins, losses, float(values.mean()), float(se), df)

    @property
    def spread(self) -> Spread:
        n = len(self.values)
        return Spread(self.se * math.sqrt(n) if self.se > 0 else 0.0, unit=n / (self.df + 1))


@dataclass(frozen=True)
class _Inference:
    """The interval of the mean difference and p, nan where there is none, by the method that the data call for."""

    low: float
    high: float
    p: float
    method: str
    scatter: Discordance | Spread


def _infer(left: Floats, right: Floats, differences: _Differences, score_range: ScoreRange) -> _Inference:
    least, width = score_range[0], score_range[1] - score_range[0]
    binary = differences.clusters is None and is_binary((left - least) / width) and is_binary((right - least) / width)
    wins, losses = differences.wins, differences.losses
    scatter = Discordance((wins + losses) / len(left), width) if binary else differences.spread
    if not differences.values.any():
        return _Inference(0.0, 0.0, 1.0, "no line differs", scatter)
    if binary:
        low, high = tango_interval(wins, losses, len(left))
        p = float(mcnemar_mid_p(wins, losses))
        return _Inference(float(low) * width, float(high) * width, p, "Tango interval, mid-p McNemar", scatter)
    mean, se, df = differences.mean, differences.se, differences.df
    low, high = t_interval(mean, se, df)
    if se == 0:  # nothing to divide by; p is the chance that all signs agree
        p, test = (2.0**-df if abs(mean) > ROUNDING else 1.0), "sign test of a constant difference"
    else:
        p, test = float(t_test(mean, se, df)), "paired t"
    method = test if differences.clusters is None else f"clustered {test}"
    return _Inference(float(low), float(high), p, method, scatter)


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
