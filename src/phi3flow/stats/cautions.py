"""Why scores give no verdict, or what to beware of in one: the ``note`` of an estimate or a comparison."""

from __future__ import annotations

import math

import numpy as np

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.estimates import LEAST_CONVERSATIONS, Clusters, Floats, sum_by_cluster

_LEAST_DF = 2.0  # of fewer, Student's quantile is so large that the interval says nothing
_ENOUGH_LINES = 10  # of fewer, one is expected to have half of the scatter
_FEW = 20  # one line in so many


def note_few_clusters(clusters: Clusters | None, df: float) -> str | None:
    """Return why the lines' conversations give no interval: too few, or one has most of the lines."""
    if clusters is None:
        return None
    count, n = int(clusters.max()) + 1, len(clusters)
    if count < LEAST_CONVERSATIONS:
        counted = "one conversation" if count == 1 else f"{count} conversations"
        return f"{counted}: at least {LEAST_CONVERSATIONS} are needed for a verdict"
    longest = int(np.bincount(clusters).max())
    return f"one conversation has {longest:,} of {n:,} lines: more of the others are needed" if df < _LEAST_DF else None


def note_range_left(score_range: ScoreRange) -> str:
    """Say that scores are outside of their declared range, which is then no range."""
    return f"scores lie outside the declared range {score_range[0]:g} to {score_range[1]:g}: it is not used"


def note_unbounded(n: int, se: float) -> str | None:
    """Return why scores without a declared range have no interval: they show no scatter."""
    if n > 1 and se > 0:
        return None
    shown = "one line shows" if n == 1 else f"{n:,} lines without scatter show"
    return f"{shown} nothing of how far others lie: declare the metric's range (score_ranges) in the evaluation flow"


def note_few_lines(values: Floats, clusters: Clusters | None) -> str | None:
    """Return that few lines carry the mean: one in twenty has more than half of the scatter."""
    squares = np.square(values - values.mean())
    unit = "lines"
    if clusters is not None:
        squares, unit = np.square(sum_by_cluster(values - values.mean(), clusters)), "conversations"
    count = len(squares)
    if count < _ENOUGH_LINES:
        return None
    few = math.ceil(count / _FEW)
    share = float(np.sort(squares)[-few:].sum() / squares.sum())
    return (
        f"{few:,} of {count:,} {unit} have {share:.0%} of the scatter: the interval may miss" if share > 0.5 else None
    )
