"""One run's scores of a metric: their mean, with an interval by the method that the scores call for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from phi3flow.records.scores import Estimate, ScoreRange
from phi3flow.stats.bounded_means import infer_bounded_mean
from phi3flow.stats.cautions import note_few_clusters, note_few_lines, note_range_left, note_unbounded
from phi3flow.stats.estimates import (
    UNIT,
    Clusters,
    Floats,
    finite,
    is_binary,
    is_within,
    optional,
    shared_clusters,
    standard_error,
    t_interval,
    unbounded_error,
    within,
)
from phi3flow.stats.shares import clustered_wilson_interval, share_interval


def estimate_mean(
    scores: ArrayLike, *, clusters: ArrayLike | None = None, n_failed: int = 0, score_range: ScoreRange | None = UNIT
) -> Estimate:
    """Estimate a mean with its interval, which has no width zero and stays within the range.

    Scores that are all an end of their range, as 0/1 are: Wilson's interval (``share_interval``); others of a range: t
    with a pseudo score at each end (``infer_bounded_mean``). Without a range: Student's t. Where lines share a cluster,
    each by cluster. ``n_failed`` is passed through. ``note`` says why there is no interval, or what to beware of.
    """
    values = finite(scores)
    n = len(values)
    if n == 0:
        return Estimate(mean=None, n=0, n_failed=n_failed, method="no scored lines")
    groups, left = shared_clusters(clusters, n), None
    if score_range and not is_within(values, score_range):
        left, score_range = note_range_left(score_range), None
    values = within(values, score_range) if score_range else values
    se, df = standard_error(values, groups)
    method, low, high, note = "t", math.nan, math.nan, note_few_clusters(groups, df)
    if score_range:
        method, low, high = _bounded_interval(values, groups, score_range)
    elif se > 0:
        error = unbounded_error(values, groups)
        low, high = (float(bound) for bound in t_interval(values.mean(), error, df))
    if note:
        low = high = math.nan
    elif not score_range:
        note = note_unbounded(n, float(se)) or note_few_lines(values, groups)
    return Estimate(
        mean=float(values.mean()),
        low=optional(low),
        high=optional(high),
        se=optional(se),
        df=None if groups is None else optional(df),
        conversations=None if groups is None else int(groups.max()) + 1,
        n=n,
        n_failed=n_failed,
        method=method if groups is None else f"clustered {method}",
        note=left or note,
    )


def _bounded_interval(values: Floats, clusters: Clusters | None, score_range: ScoreRange) -> tuple[str, float, float]:
    least, width, n = score_range[0], score_range[1] - score_range[0], len(values)
    shares = (values - least) / width
    if not is_binary(shares):
        low, high = infer_bounded_mean(values, clusters, score_range).interval()
        return "t", float(low), float(high)
    if clusters is None:
        low, high = share_interval(shares.sum(), n)
    else:
        low, high = clustered_share_interval(shares, clusters)
    method = "wilson" if score_range == UNIT else f"wilson, {score_range[0]:g} to {score_range[1]:g}"
    return method, float(least + width * low), float(least + width * high)


def clustered_share_interval(values: Floats, clusters: Clusters) -> tuple[Floats, Floats]:
    """Return the 95 % interval of shares of 0/1 scores by cluster: at either end the wider of two.

    Wilson's at the effective number of lines covers 0.83 to 0.92 where conversations have 1 to 40 lines, the bounded t
    0.90 where one has half of all: neither keeps its errors alone.
    """
    se, df = standard_error(values, clusters)
    low, high = clustered_wilson_interval(values.mean(axis=-1), se, values.shape[-1], df)
    least, most = infer_bounded_mean(values, clusters, UNIT).interval()
    return np.minimum(low, least), np.maximum(high, most)
