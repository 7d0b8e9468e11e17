"""The differences of all lines, sorted: what lies behind the one number that a comparison gives."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.report.figures import Scale, Tick
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.wording import interval, number, signed
from phi3flow.text import plural

_COLUMNS = 400
_LABEL = 9.0  # percent of the figure's height


@dataclass(frozen=True)
class Column:
    """Neighbours in the sorted row of lines that differ by the same, or by so much in the mean, in percent."""

    at: float
    width: float
    top: float
    height: float
    outcome: str


@dataclass(frozen=True)
class GainsFigure:
    """The sorted differences of a metric; what is better stands up. ``zero``, ``mean`` … are percent from the top.

    The ``band`` is the mean's interval at 1 - ``level``.
    """

    metric: str
    columns: list[Column]
    zero: float
    mean: float
    band: tuple[float, float] | None
    ticks: list[Tick]
    wins: int
    losses: int
    ties: int
    level: float
    label: str


def gains_figure(metric: str, comparison: Comparison, runs: Sequence[RunView]) -> GainsFigure | None:
    """Return the figure of one metric of two runs; None where the lines that its difference is of are not these."""
    compared = comparison.metrics[metric]
    before, after = (run.mean_scores.get(metric, {}) for run in runs)
    sign = -1 if compared.lower_is_better else 1
    pairs = [(before[line_id], after.get(line_id)) for line_id in before]
    gains = sorted(sign * (b - a) for a, b in pairs if a is not None and b is not None)
    if not gains or len(gains) != compared.n or compared.difference.mean is None:
        return None
    axis = Scale(min(gains[0], 0.0) or -1e-9, max(gains[-1], 0.0) or 1e-9)
    return GainsFigure(
        metric,
        _columns(gains, axis),
        _down(axis, 0.0),
        _down(axis, sign * compared.difference.mean),
        _band(compared, axis, sign),
        _ticks(axis, sign, scale_of(metric, runs).digits),
        wins=compared.wins or 0,
        losses=compared.losses or 0,
        ties=compared.ties or 0,
        level=compared.level,
        label=_describe(compared, scale_of(metric, runs).digits),
    )


def _columns(gains: Sequence[float], axis: Scale) -> list[Column]:
    """Return a column for each run of lines that differ alike, or for each few lines where they are many.

    Ties leave a gap.
    """
    size = math.ceil(len(gains) / _COLUMNS)
    means = [statistics.fmean(gains[start : start + size]) for start in range(0, len(gains), size)]
    columns, start = [], 0
    for mean, alike in itertools.groupby(means):
        end = min(start + size * len(list(alike)), len(gains))
        if mean:
            top, bottom = sorted((_down(axis, mean), _down(axis, 0.0)))
            at, width = 100 * start / len(gains), 100 * (end - start) / len(gains)
            columns.append(
                Column(round(at, 3), round(width, 3), top, round(bottom - top, 3), "win" if mean > 0 else "loss")
            )
        start = end
    return columns


def _band(compared: MetricComparison, axis: Scale, sign: int) -> tuple[float, float] | None:
    """Return the top and the height of the interval of the mean, in percent."""
    low, high = compared.difference.low, compared.difference.high
    if low is None or high is None:
        return None
    top, bottom = sorted((_down(axis, sign * low), _down(axis, sign * high)))
    return top, round(bottom - top, 3)


def _ticks(axis: Scale, sign: int, digits: int) -> list[Tick]:
    """Return zero and those ends of the axis that have room for a label, as differences: the sign is the score's."""
    zero = Tick(_down(axis, 0.0), number(0.0, digits))
    ends = [Tick(_down(axis, value), signed(sign * value, digits)) for value in (axis.low, axis.high)]
    return [zero, *(end for end in ends if abs(end.at - zero.at) > _LABEL)]


def _down(axis: Scale, value: float) -> float:
    return round(100 - axis.percent(value), 3)


def _describe(compared: MetricComparison, digits: int) -> str:
    low, high = compared.difference.low, compared.difference.high
    return (
        f"Difference of each of {plural(compared.n, 'line')}: {compared.losses:,} worse, {compared.ties:,} alike, "
        f"{compared.wins:,} better; mean {signed(compared.difference.mean, digits)} "
        f"{interval(low, high, digits, sign=True)}"
    ).rstrip()
