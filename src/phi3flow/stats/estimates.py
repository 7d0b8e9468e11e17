"""One run's scores: the mean with its interval. The kernels take arrays of any shape, lines on the last axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.records.scores import Estimate, ScoreRange

ALPHA = 0.05
UNIT: ScoreRange = (0.0, 1.0)
Z_TWO_SIDED = float(special.ndtri(1 - ALPHA / 2))
ROUNDING = 1e-12  # relative: what differs by less differs by the rounding of floats only

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]


def known_range(name: str, declared: Mapping[str, ScoreRange], scores: Iterable[ArrayLike] = ()) -> ScoreRange | None:
    """Return the range of the metric ``name``: the declared one, else 0 to 1, unless one of the ``scores`` is outside.

    None is a metric whose range nobody declared and that is none of 0 to 1. A nan is no score.
    """
    if name in declared:
        return declared[name]
    low, high = UNIT
    for values in scores:
        if ((np.asarray(values, dtype=float) < low) | (np.asarray(values, dtype=float) > high)).any():
            return None
    return UNIT


def estimate_mean(
    scores: ArrayLike, *, clusters: ArrayLike | None = None, n_failed: int = 0, score_range: ScoreRange | None = UNIT
) -> Estimate:
    """Estimate a mean with its interval: Student's t, or Wilson's where all scores are an end of their range.

    Where lines share a cluster, either uses the clustered standard error and t on clusters - 1 (Miller 2024).
    ``n_failed`` is passed through. One line (one cluster) has no interval, unless its score is an end of the range.
    """
    low, high = score_range or UNIT
    unit = _estimate_unit_mean((finite(scores) - low) / (high - low), clusters, n_failed)
    if score_range in (UNIT, None):
        return unit
    shares = {"mean": unit.mean, "low": unit.low, "high": unit.high}
    scaled = {name: None if share is None else low + share * (high - low) for name, share in shares.items()}
    method = f"{unit.method}, {low:g} to {high:g}" if "wilson" in unit.method else unit.method
    se = None if unit.se is None else unit.se * (high - low)
    return unit.model_copy(update={**scaled, "se": se, "method": method})


def _estimate_unit_mean(values: Floats, clusters: ArrayLike | None, n_failed: int) -> Estimate:
    n = len(values)
    if n == 0:
        return Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines")
    groups = shared_clusters(clusters, n)
    mean = float(values.mean())
    se, df = standard_error(values, groups)
    if not is_binary(values):
        method, bounds = "t", t_interval(mean, se, df)
    elif groups is None:
        se = np.asarray(math.sqrt(mean * (1 - mean) / n))
        method, bounds = "wilson", wilson_interval(mean, n)
    else:
        method, bounds = "wilson", clustered_wilson_interval(mean, se, n, df)
    low, high = optional(bounds[0]), optional(bounds[1])
    method = method if groups is None else f"clustered {method}"
    return Estimate(mean=mean, low=low, high=high, se=optional(se), n=n, n_failed=n_failed, method=method)


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
    return np.where(se <= ROUNDING * np.abs(values).max(axis=-1), 0.0, se), count - 1


def sum_by_cluster(values: Floats, clusters: Clusters) -> Floats:
    """Sum the last axis by cluster; ``clusters`` are the integers 0 to C - 1, each used."""
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(clusters.max() + 1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def t_interval(mean: ArrayLike, se: ArrayLike, df: int) -> tuple[Floats, Floats]:
    """Return Student's t interval; nan where ``df`` is 0."""
    centre, half = np.asarray(mean, dtype=float), t_quantile(1 - ALPHA / 2, df) * np.asarray(se, dtype=float)
    return centre - half, centre + half


def t_test(mean: ArrayLike, se: ArrayLike, df: int) -> Floats:
    """Return Student's two-sided p of a mean against 0; nan where ``df`` is 0."""
    return np.asarray(2 * special.stdtr(df if df else np.nan, -np.abs(np.asarray(mean) / np.asarray(se))))


def wilson_interval(proportion: ArrayLike, n: ArrayLike, quantile: float = Z_TWO_SIDED) -> tuple[Floats, Floats]:
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
    varies = se > 0
    effective = np.where(varies, share * (1 - share) / np.where(varies, se, 1.0) ** 2, df + 1)
    return wilson_interval(share, np.minimum(effective, n), t_quantile(1 - ALPHA / 2, df))


def finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("scores must be one row of finite numbers; leave out what has no score")
    return values


def shared_clusters(clusters: ArrayLike | None, n: int) -> Clusters | None:
    """Return labels as integers 0 to C - 1, or None where no two lines share one."""
    if clusters is None:
        return None
    labels, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if len(codes) != n:
        raise ValueError(f"{len(codes)} cluster labels for {n} scores")
    return None if len(labels) == n else codes


def is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def t_quantile(probability: float, df: int) -> float:
    return float(special.stdtrit(df, probability)) if df else math.nan


def optional(value: float | Floats) -> float | None:
    return None if math.isnan(value) else float(value)
