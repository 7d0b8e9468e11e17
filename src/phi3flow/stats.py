"""Estimates and paired comparisons: numbers in, numbers out; no files, no clock, no hidden randomness.

Every interval is 95 %, every p is two-sided, power is 80 %. ``clusters`` labels each line with its conversation;
it matters only where lines share one. The kernels take arrays of any shape with the lines on the last axis, so
that coverage can be simulated as fast as it is computed.

Sources, as cited below:
    Bloom 1995, Evaluation Review 19:547 (minimum detectable effect)
    Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91 (mid-p McNemar test)
    Franco, Little, Louis, Slud 2019, J. Survey Statistics and Methodology 7:334 (Wilson for clustered data)
    Holm 1979, Scandinavian J. Statistics 6:65
    Miller 2024, arXiv 2411.00640 (clustered standard errors and paired differences of evaluations)
    Phipson, Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39 (p of a permutation test with random draws)
    Tango 1998, Statistics in Medicine 17:891 (score interval of a paired difference of proportions)
    Wilson 1927, J. American Statistical Association 22:209
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.records import Estimate

ALPHA = 0.05
POWER = 0.80
PERMUTATION_DRAWS = 10_000

_Z_TWO_SIDED = float(special.ndtri(1 - ALPHA / 2))
_Z_POWER = float(special.ndtri(POWER))
_ROUNDING = 1e-12  # relative: what differs by less differs by the rounding of floats only

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]


@dataclass(frozen=True)
class PairedComparison:
    """Candidate minus baseline over paired lines; None where a figure is not defined for these data.

    ``se`` is the mean difference's standard error; ``p`` belongs to ``method``, ``p_permutation`` to the
    sign-flip test; ``lines_needed`` show the observed difference with 80 % power.
    """

    n: int
    method: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    se: float | None = None
    p: float | None = None
    p_permutation: float | None = None
    minimum_detectable_effect: float | None = None
    lines_needed: int | None = None


def estimate_mean(scores: ArrayLike, *, clusters: ArrayLike | None = None, n_failed: int = 0) -> Estimate:
    """Estimate a mean with its interval: Student's t, or Wilson's where all scores are 0 or 1.

    Where lines share a cluster, either uses the clustered standard error and t on clusters - 1 (Miller 2024).
    ``n_failed`` is passed through. One line (one cluster) has no interval, unless it is a single 0 or 1.
    """
    values = _finite(scores)
    n = len(values)
    if n == 0:
        return Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines")
    groups = _shared_clusters(clusters, n)
    mean = float(values.mean())
    se, df = standard_error(values, groups)
    if not _is_binary(values):
        method, bounds = "t", t_interval(mean, se, df)
    elif groups is None:
        se = np.asarray(math.sqrt(mean * (1 - mean) / n))
        method, bounds = "wilson", wilson_interval(mean, n)
    else:
        method, bounds = "wilson", clustered_wilson_interval(mean, se, n, df)
    low, high = _optional(bounds[0]), _optional(bounds[1])
    method = method if groups is None else f"clustered {method}"
    return Estimate(mean=mean, low=low, high=high, se=_optional(se), n=n, n_failed=n_failed, method=method)


def compare_pairs(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    draws: int = PERMUTATION_DRAWS,
) -> PairedComparison:
    """Compare two runs' scores of the same lines.

    0/1 scores without shared clusters: Tango's interval and the mid-p McNemar test. All others: the paired t
    test, clustered where lines share a cluster. Beside either, the sign-flip permutation test by cluster.
    All differences zero: difference 0, interval [0, 0], p = 1.
    """
    left, right = _finite(baseline), _finite(candidate)
    if left.shape != right.shape:
        raise ValueError(f"paired scores come in pairs, not {len(left)} against {len(right)}")
    differences = right - left
    n = len(differences)
    if n == 0:
        return PairedComparison(n=0, method="no line is scored in both")
    groups = _shared_clusters(clusters, n)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    mean = float(differences.mean())
    se, df = standard_error(differences, groups)
    low, high, p, method = _infer_difference(left, right, groups)
    varies = bool(se > 0)
    return PairedComparison(
        n=n,
        method=method,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        mean=mean,
        low=_optional(low),
        high=_optional(high),
        se=_optional(se),
        p=_optional(p),
        p_permutation=sign_flip_p(differences, rng=rng, clusters=groups, draws=draws),
        minimum_detectable_effect=minimum_detectable_effect(float(se), df=df) if varies else None,
        lines_needed=lines_needed(float(se) * math.sqrt(n), mean) if varies and mean else None,
    )


def _infer_difference(left: Floats, right: Floats, groups: Clusters | None) -> tuple[float, float, float, str]:
    """Return the interval, p and the method that these data call for."""
    differences = right - left
    if not differences.any():
        return 0.0, 0.0, 1.0, "no line differs"
    if groups is None and _is_binary(left) and _is_binary(right):
        wins, losses = (differences > 0).sum(), (differences < 0).sum()
        low, high = tango_interval(wins, losses, len(left))
        return float(low), float(high), float(mcnemar_mid_p(wins, losses)), "Tango interval, mid-p McNemar"
    mean = differences.mean()
    se, df = standard_error(differences, groups)
    low, high = t_interval(mean, se, df)
    if se == 0:  # nothing to divide by; p is the chance that all signs agree
        p, test = (2.0**-df if abs(mean) > _ROUNDING else 1.0), "sign test of a constant difference"
    else:
        p, test = float(t_test(mean, se, df)), "paired t"
    return float(low), float(high), p, test if groups is None else f"clustered {test}"


def standard_error(values: Floats, clusters: Clusters | None = None) -> tuple[Floats, int]:
    """Return the standard error of the mean over the last axis, and its degrees of freedom.

    sqrt(C/(C-1) * sum_c (sum_{i in c} (s_i - mean))^2) / n on C - 1 (Miller 2024, equation 4, with the
    small-sample factor); without clusters every line is its own, which is s / sqrt(n). One cluster: nan.
    """
    n = values.shape[-1]
    sums = values - values.mean(axis=-1, keepdims=True)
    if clusters is not None:
        sums = sum_by_cluster(sums, clusters)
    count = sums.shape[-1]
    if count < 2:
        return np.full(values.shape[:-1], np.nan), 0
    se = np.sqrt(np.square(sums).sum(axis=-1) * count / (count - 1)) / n
    return np.where(se <= _ROUNDING * np.abs(values).max(axis=-1), 0.0, se), count - 1


def sum_by_cluster(values: Floats, clusters: Clusters) -> Floats:
    """Sum the last axis by cluster; ``clusters`` are the integers 0 to C - 1, each used."""
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(clusters.max() + 1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def t_interval(mean: ArrayLike, se: ArrayLike, df: int) -> tuple[Floats, Floats]:
    """Return Student's t interval; nan where ``df`` is 0."""
    centre, half = np.asarray(mean, dtype=float), _t_quantile(1 - ALPHA / 2, df) * np.asarray(se, dtype=float)
    return centre - half, centre + half


def t_test(mean: ArrayLike, se: ArrayLike, df: int) -> Floats:
    """Return Student's two-sided p of a mean against 0; nan where ``df`` is 0."""
    return np.asarray(2 * special.stdtr(df if df else np.nan, -np.abs(np.asarray(mean) / np.asarray(se))))


def wilson_interval(proportion: ArrayLike, n: ArrayLike, quantile: float = _Z_TWO_SIDED) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of a proportion from ``n`` trials (Wilson 1927)."""
    share = np.asarray(proportion, dtype=float)
    spread = quantile**2 / np.asarray(n, dtype=float)
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low = np.where(share == 0, 0.0, centre - half)
    return low, np.where(share == 1, 1.0, centre + half)


def clustered_wilson_interval(proportion: ArrayLike, se: ArrayLike, n: int, df: int) -> tuple[Floats, Floats]:
    """Return Wilson's interval at the effective number of lines, with t on ``df`` (Franco et al. 2019).

    The effective number p(1-p)/se^2 never exceeds ``n``; where all lines agree it cannot be estimated, and is
    the number of clusters. The t interval would be [0, 0] there, and cover a rare event half the time.
    """
    share, se = np.asarray(proportion, dtype=float), np.asarray(se, dtype=float)
    known = se > 0
    effective = np.where(known, share * (1 - share) / np.where(known, se, 1.0) ** 2, df + 1)
    return wilson_interval(share, np.minimum(effective, n), _t_quantile(1 - ALPHA / 2, df))


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
            inside = np.abs(statistic(middle)) <= _Z_TWO_SIDED
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


def sign_flip_p(
    differences: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: Clusters | None = None,
    draws: int = PERMUTATION_DRAWS,
) -> float:
    """Return the two-sided p of the sign-flip permutation test: each cluster's sum keeps or changes its sign.

    Exact where all sign patterns are no more than ``draws``; else by ``draws`` random ones, the observed one
    counted among them (Phipson and Smyth 2010), so that p is never 0.
    """
    values = np.asarray(differences, dtype=float)
    sums = values if clusters is None else sum_by_cluster(values, clusters)
    sums = sums[np.abs(sums) > _ROUNDING * np.abs(values).max()]
    total = sums.sum()
    least = abs(total) - _ROUNDING * np.abs(sums).sum()
    if 2 ** len(sums) <= draws:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs(2 * (patterns @ sums) - total) >= least).mean())
    extreme, width = 0, -(-len(sums) // 8)
    for start in range(0, draws, step := max(1, 2**22 // len(sums))):
        rows = min(step, draws - start)
        random = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        patterns = np.unpackbits(random, axis=1, count=len(sums)).astype(float)
        extreme += int((np.abs(2 * (patterns @ sums) - total) >= least).sum())
    return (extreme + 1) / (draws + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values in the given order (Holm 1979).

    A test without a p (None) stays None, and counts in the family as one that shows nothing.
    """
    known = [1.0 if p is None else p for p in p_values]
    adjusted, largest = list(p_values), 0.0
    for rank, index in enumerate(np.argsort(known, kind="stable")):
        if adjusted[index] is not None:
            largest = max(largest, min(1.0, known[index] * (len(known) - rank)))
            adjusted[index] = largest
    return adjusted


def minimum_detectable_effect(se: float, *, df: int) -> float:
    """Return the true difference that a two-sided 5 % test finds with 80 % power (Bloom 1995)."""
    return (_t_quantile(1 - ALPHA / 2, df) + _t_quantile(POWER, df)) * se


def lines_needed(deviation: float, effect: float) -> int:
    """Return how many lines show ``effect`` with 80 % power: ((z_0.975 + z_0.8) * deviation / effect)^2.

    ``deviation`` is one line's standard deviation, or se * sqrt(n) where lines are clustered.
    """
    return math.ceil(((_Z_TWO_SIDED + _Z_POWER) * deviation / effect) ** 2)


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("scores must be one row of finite numbers; leave out what has no score")
    return values


def _shared_clusters(clusters: ArrayLike | None, n: int) -> Clusters | None:
    """Return labels as integers 0 to C - 1, or None where no two lines share one."""
    if clusters is None:
        return None
    labels, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if len(codes) != n:
        raise ValueError(f"{len(codes)} cluster labels for {n} scores")
    return None if len(labels) == n else codes


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _t_quantile(probability: float, df: int) -> float:
    return float(special.stdtrit(df, probability)) if df else math.nan


def _optional(value: float | Floats) -> float | None:
    return None if math.isnan(value) else float(value)
