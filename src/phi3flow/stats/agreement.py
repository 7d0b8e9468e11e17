"""How far repeated verdicts of one line agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from phi3flow.records.scores import Agreement
from phi3flow.stats.estimates import Floats


def measure_agreement(lines: Sequence[Sequence[float | None]]) -> Agreement | None:
    """Return the agreement over the lines that have two verdicts or more; None where there is no such line.

    A None is a verdict that failed, and is left out. ``within_sd`` pools the lines' variances (verdicts less one
    degrees of freedom each).
    """
    verdicts = [[verdict for verdict in line if verdict is not None] for line in lines]
    judged = [line for line in verdicts if len(line) >= 2]
    if not judged:
        return None
    squares = sum(float(np.var(line)) * len(line) for line in judged)
    return Agreement(
        alpha=ordinal_alpha(judged),
        exact=sum(len(set(line)) == 1 for line in judged) / len(judged),
        within_sd=(squares / sum(len(line) - 1 for line in judged)) ** 0.5,
        n=len(judged),
    )


def ordinal_alpha(lines: Sequence[Sequence[float]]) -> float | None:
    """Return Krippendorff's alpha for ordinal data, one sequence of verdicts a line; None where all are the same.

    1 is perfect agreement, 0 what chance gives. Source: Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability, section C (coincidences) with the ordinal difference of section D.
    """
    judged = [Counter(line) for line in lines if len(line) >= 2]
    values = sorted({value for line in judged for value in line})
    if len(values) < 2:
        return None
    units = np.array([[line[value] for value in values] for line in judged], dtype=float)
    totals = units.sum(axis=0)
    differences = _ordinal_differences(totals)
    # A line's own pairs, each verdict with every other; differences of a value with itself are 0.
    within = np.einsum("uc,cd,ud->u", units, differences, units) / (units.sum(axis=1) - 1)
    between = totals @ differences @ totals / (totals.sum() - 1)
    return 1.0 - float(within.sum()) / float(between)


def _ordinal_differences(totals: Floats) -> Floats:
    """Return (the verdicts from one value to the other, each end counted half) squared."""
    ends = np.cumsum(totals) - totals / 2
    return np.asarray(np.square(ends[:, None] - ends[None, :]))
