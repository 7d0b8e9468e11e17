"""What estimates stand on: scores within their range, lines by cluster, a mean's standard error, Student's t.

Functions of ``Floats`` take arrays of any shape, lines on the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.records.scores import ScoreRange

ALPHA = 0.05
UNIT: ScoreRange = (0.0, 1.0)
ROUNDING = 1e-12  # relative: what differs by less differs by the rounding of floats only
BEYOND = 1e-9  # of a range: a score that is outside by no more is at its end
LEAST_CONVERSATIONS = 6  # of fewer, what they have in common cannot be told from chance

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]


def known_range(name: str, declared: Mapping[str, ScoreRange], scores: Iterable[ArrayLike] = ()) -> ScoreRange | None:
    """Return the range of the metric ``name``: the declared one, else 0 to 1, unless one of the ``scores`` is outside.

    None is a metric whose range nobody declared and that is none of 0 to 1. A nan is no score.
    """
    if name in declared:
        return declared[name]
    return UNIT if all(is_within(np.asarray(values, dtype=float), UNIT) for values in scores) else None


def is_within(scores: Floats, score_range: ScoreRange) -> bool:
    """Whether no score is outside of the range by more than rounding: BLEU of a perfect answer is a little over 100."""
    low, high = score_range
    slack = BEYOND * (high - low)
    return not ((scores < low - slack) | (scores > high + slack)).any()


def within(scores: Floats, score_range: ScoreRange) -> Floats:
    """Return the scores without what rounding adds: what is an end of the range but for it is that end."""
    low, high = score_range
    slack = ROUNDING * (high - low)
    return np.where(scores <= low + slack, low, np.where(scores >= high - slack, high, scores))


def standard_error(values: Floats, clusters: Clusters | None = None) -> tuple[Floats, float]:
    """Return the standard error of the mean over the last axis, and its degrees of freedom.

    Without clusters s / sqrt(n) on n - 1. With them CR2 (Bell and McCaffrey 2002; Pustejovsky and Tipton 2018), which
    for a mean has a closed form: sqrt(sum_c r_c^2 / (1 - h_c)) / n, where r_c is the sum of a cluster's residuals and
    h_c its share of the lines. One cluster: nan.
    """
    n = values.shape[-1]
    sums = values - values.mean(axis=-1, keepdims=True)
    shares = np.full(n, 1 / n)
    if clusters is not None:
        sums, shares = sum_by_cluster(sums, clusters), np.bincount(clusters) / n
    if len(shares) < 2:
        return np.full(values.shape[:-1], np.nan), 0.0
    se = np.sqrt((np.square(sums) / (1 - shares)).sum(axis=-1)) / n
    df = n - 1.0 if clusters is None else float(degrees_of_freedom(shares))
    return np.where(se <= ROUNDING * np.abs(values).max(axis=-1), 0.0, se), df


def unbounded_error(values: Floats, clusters: Clusters | None) -> Floats:
    """Return the error that an interval without a range is made of: that of ``exchangeable_variance`` if greater."""
    se, _ = standard_error(values, clusters)
    if clusters is None or not clusters.any():
        return se
    residuals = values - values.mean(axis=-1, keepdims=True)
    variance = exchangeable_variance(residuals, sum_by_cluster(residuals, clusters), np.bincount(clusters))
    return np.asarray(np.maximum(se, np.sqrt(variance) / values.shape[-1]))


def exchangeable_variance(residuals: Floats, sums: Floats, lengths: ArrayLike) -> Floats:
    """Return the variance of the sum over the last axis where clusters of any length scatter alike.

    tau^2 sum n_c^2 + sigma^2 n: sigma^2 within clusters, tau^2 that of their means, each of which counts once, beyond
    what sigma^2 makes of it. ``residuals`` are the lines', ``sums`` theirs by cluster, of ``lengths``. CR2 takes a long
    cluster's own sum for its variance: where that happens to be small it says nothing of a share of the lines that
    could have been lost at once.
    """
    n, lengths, total = residuals.shape[-1], np.asarray(lengths, dtype=float), np.square(residuals).sum(axis=-1)
    within = (total - (np.square(sums) / lengths).sum(axis=-1)) / max(n - len(lengths), 1)
    within = np.minimum(within, total / (n - 1))  # of few clusters with several lines it is a guess
    return alike_variance(sums / lengths, lengths, within[..., None] * lengths)


def alike_variance(means: Floats, lengths: Floats, within: Floats) -> Floats:
    """Return that variance from the clusters' means and the variances of their sums ``within`` them, (..., C)."""
    between = means.var(axis=-1, ddof=1) - (within / np.square(lengths)).mean(axis=-1)
    return np.asarray(np.maximum(between, 0.0) * np.square(lengths).sum() + within.sum(axis=-1))


def degrees_of_freedom(shares: Floats, weights: Floats | float = 1.0) -> Floats:
    """Return Bell and McCaffrey's degrees of freedom of a mean's CR2 error, over the last axis.

    ``shares`` are the clusters' of all lines; each counts ``weights`` times. With the identity as working covariance
    they are 1 / (sum h^2 + (sum b)^2 - sum b^2), b = h^2 / (1 - h): C - 1 where all clusters are alike, fewer where a
    few have most of the lines.
    """
    squares = np.square(shares)
    cross = squares / (1 - shares)
    sums = [(weights * terms).sum(axis=-1) for terms in (squares, cross, np.square(cross))]
    return np.asarray(1 / (sums[0] + sums[1] ** 2 - sums[2]))


def sum_by_cluster(values: Floats, clusters: Clusters) -> Floats:
    """Sum the last axis by cluster; ``clusters`` are the integers 0 to C - 1, each used."""
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(clusters.max() + 1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def t_interval(mean: ArrayLike, se: ArrayLike, df: float, level: float = ALPHA) -> tuple[Floats, Floats]:
    """Return Student's t interval; nan where ``df`` is 0."""
    centre, half = np.asarray(mean, dtype=float), t_quantile(1 - level / 2, df) * np.asarray(se, dtype=float)
    return centre - half, centre + half


def t_test(mean: ArrayLike, se: ArrayLike, df: float) -> Floats:
    """Return Student's two-sided p of a mean against 0; nan where ``df`` is 0."""
    return np.asarray(2 * special.stdtr(df if df else np.nan, -np.abs(np.asarray(mean) / np.asarray(se))))


def finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("scores must be one row of finite numbers; leave out what has no score")
    return values


def shared_clusters(clusters: ArrayLike | None, n: int) -> Clusters | None:
    """Return labels as integers 0 to C - 1, or None where no two lines share one.

    A line whose label is None or blank is a cluster of its own.
    """
    if clusters is None:
        return None
    labelled = np.asarray(clusters)
    if labelled.dtype == object:
        labelled = np.array(["" if label is None else str(label) for label in labelled])
    labels, codes = np.unique(labelled, return_inverse=True)
    if len(codes) != n:
        raise ValueError(f"{len(codes)} cluster labels for {n} scores")
    if labels.dtype.kind == "U" and (blank := int(np.searchsorted(labels, "!"))):  # what is blank sorts before it
        alone = np.isin(codes, [code for code in range(blank) if not labels[code].strip()])
        codes = np.where(alone, len(labels) + np.cumsum(alone), codes)
        labels, codes = np.unique(codes, return_inverse=True)
    return None if len(labels) == n else codes


def enough_lines(needed: int | None, *, n: int, conversations: int | None) -> int | None:
    """Return the lines ``needed``, or where that is more, those of the least number of such conversations.

    ``n`` lines came in ``conversations``, None where each was one of its own. None is no number of lines.
    """
    if needed is None or conversations is None or conversations >= LEAST_CONVERSATIONS:
        return needed
    return max(needed, math.ceil(n * LEAST_CONVERSATIONS / conversations))


def is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def t_quantile(probability: float, df: float) -> float:
    return float(special.stdtrit(df, probability)) if df else math.nan


def optional(value: float | Floats) -> float | None:
    return None if math.isnan(value) else float(value)
