"""Two runs' scores of the same lines: the difference, its interval, its tests, and what it takes to be sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.estimates import (
    ALPHA,
    ROUNDING,
    UNIT,
    Z_TWO_SIDED,
    Clusters,
    Floats,
    finite,
    is_binary,
    optional,
    shared_clusters,
    standard_error,
    t_interval,
    t_quantile,
    t_test,
)
from phi3flow.stats.resampling import DRAWS, sign_flip_p

POWER = 0.80

_Z_POWER = float(special.ndtri(POWER))


@dataclass(frozen=True)
class PairedComparison:
    """Candidate minus baseline over paired lines; None where a figure is not defined for these data.

    ``se`` is the mean difference's standard error; ``p`` belongs to ``method``, ``p_permutation`` to the
    sign-flip test; ``lines_needed`` show the observed difference with 80 % power.
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


def widened(mean: float, low: float | None, high: float | None, tests: int) -> tuple[float, float] | None:
    if tests == 1 or low is None or high is None:
        return None
    ratio = float(special.ndtri(1 - ALPHA / 2 / tests)) / Z_TWO_SIDED
    return mean - (mean - low) * ratio, mean + (high - mean) * ratio


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
    """Compare two runs' scores of the same lines.

    Scores that are all an end of their range, as 0/1 are, without shared clusters: Tango's interval and the mid-p
    McNemar test. All others: the paired t test, clustered where lines share a cluster. Beside either, the sign-flip
    permutation test by cluster.
    All differences zero: difference 0, interval [0, 0], p = 1.
    """
    score_range = score_range or UNIT
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
        minimum_detectable_effect=differences.minimum_detectable_effect,
        lines_needed=differences.lines_needed,
        simultaneous=widened(differences.mean, optional(inference.low), optional(inference.high), tests),
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
    def minimum_detectable_effect(self) -> float | None:
        return minimum_detectable_effect(self.se, df=self.df) if self.se > 0 else None

    @property
    def lines_needed(self) -> int | None:
        differs = self.se > 0 and abs(self.mean) > ROUNDING * self.se
        return lines_needed(self.se * math.sqrt(len(self.values)), self.mean) if differs else None


@dataclass(frozen=True)
class _Inference:
    """The interval of the mean difference and p, nan where there is none, by the method that the data call for."""

    low: float
    high: float
    p: float
    method: str


def _infer(left: Floats, right: Floats, differences: _Differences, score_range: ScoreRange) -> _Inference:
    if not differences.values.any():
        return _Inference(0.0, 0.0, 1.0, "no line differs")
    least, width = score_range[0], score_range[1] - score_range[0]
    if differences.clusters is None and is_binary((left - least) / width) and is_binary((right - least) / width):
        wins, losses = differences.wins, differences.losses
        low, high = tango_interval(wins, losses, len(left))
        p = float(mcnemar_mid_p(wins, losses))
        return _Inference(float(low) * width, float(high) * width, p, "Tango interval, mid-p McNemar")
    mean, se, df = differences.mean, differences.se, differences.df
    low, high = t_interval(mean, se, df)
    if se == 0:  # nothing to divide by; p is the chance that all signs agree
        p, test = (2.0**-df if abs(mean) > ROUNDING else 1.0), "sign test of a constant difference"
    else:
        p, test = float(t_test(mean, se, df)), "paired t"
    return _Inference(float(low), float(high), p, test if differences.clusters is None else f"clustered {test}")


def tango_interval(wins: ArrayLike, losses: ArrayLike, n: int) -> tuple[Floats, Floats]:
    """Return Tango's score interval of (wins - losses) / n, the paired difference of two 0/1 scores.

    The bounds are where the score statistic equals the normal quantile. It falls as the assumed difference
    grows, so bisection finds them (Tango 1998, section 3).
    """
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    estimate = (b - c) / n

    def statistic(difference: Floats) -> Floats:
        linear = (2 * n - b + c) * difference - b - c
        constant = -c * difference * (1 - difference)
        loss_share = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
        variance = n * (2 * loss_share + difference * (1 - difference))
        distance = b - c - n * difference
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(distance == 0, 0.0, distance / np.sqrt(np.maximum(variance, 0)))

    def solve(inner: Floats, outer: Floats) -> Floats:
        for _ in range(60):
            middle = (inner + outer) / 2
            inside = np.abs(statistic(middle)) <= Z_TWO_SIDED
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        return np.asarray((inner + outer) / 2)

    return solve(estimate, np.full_like(estimate, -1.0)), solve(estimate, np.full_like(estimate, 1.0))


def mcnemar_mid_p(wins: ArrayLike, losses: ArrayLike) -> Floats:
    """Return the two-sided mid-p of the McNemar test; 1 where no line differs (Fagerland et al. 2013)."""
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    trials, fewer = b + c, np.minimum(b, c)
    log_chance = special.gammaln(trials + 1) - special.gammaln(b + 1) - special.gammaln(c + 1)
    chance = np.exp(log_chance - trials * math.log(2))
    below = special.bdtr(fewer, trials.astype(int), 0.5)
    return np.where(trials == 0, 1.0, np.where(b == c, 1 - chance / 2, 2 * below - chance))


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


def minimum_detectable_effect(se: float, *, df: int) -> float:
    """Return the true difference that a two-sided 5 % test finds with 80 % power (Bloom 1995)."""
    return (t_quantile(1 - ALPHA / 2, df) + t_quantile(POWER, df)) * se


def lines_needed(deviation: float, effect: float) -> int:
    """Return how many lines show ``effect`` with 80 % power: ((z_0.975 + z_0.8) * deviation / effect)^2.

    ``deviation`` is one line's standard deviation, or se * sqrt(n) where lines are clustered.
    """
    return math.ceil(((Z_TWO_SIDED + _Z_POWER) * deviation / effect) ** 2)
