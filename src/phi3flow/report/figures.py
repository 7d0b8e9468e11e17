"""The geometry of the report's figures; the template draws it as SVG.

Horizontal positions are percentages of the figure's width, so that figures follow the page's width without
script; vertical positions of curves are percentages from the top. Lines of curves are SVG point lists in a box of
1000 by 1000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.records.training import TrainingRecord, ValidationPoint
from phi3flow.report.wording import latency, number

_BINS = 48
_MAX_POINTS = 600


@dataclass(frozen=True)
class Scale:
    """A linear axis from ``low`` to ``high``; where ``low`` is the greater, it runs downwards."""

    low: float
    high: float

    @property
    def digits(self) -> int:
        """How many decimals a value deserves: three on a scale of 1, fewer on larger ones."""
        return 3 if self.high <= 1 else 2 if self.high <= 10 else 1

    def percent(self, value: float) -> float:
        """Return where ``value`` lies, in percent of the axis, cut to its ends."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def ticks(self, count: int = 4) -> list[float]:
        """Return at most about ``count`` round values on the axis."""
        spacing = _round_spacing((self.high - self.low) / count)
        first = math.ceil(self.low / spacing - 1e-9)
        last = math.floor(self.high / spacing + 1e-9)
        return [round(index * spacing, 12) for index in range(first, last + 1)]


@dataclass(frozen=True)
class Tick:
    """A labelled point of an axis, at so many percent of it."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One bin of a histogram: position and width in percent, height as a share of the highest bin of all runs."""

    at: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """One run's latencies on the axis that all runs share; ``beyond`` lines are slower than its end."""

    bars: list[Bar]
    marks: list[Tick]
    beyond: int


@dataclass(frozen=True)
class Histograms:
    """The latencies of all runs: one histogram a run (None without a completed line), one axis."""

    runs: list[Histogram | None]
    ticks: list[Tick]
    end: str


@dataclass(frozen=True)
class Plot:
    """A plot of ``lines`` by name, of ``points`` (percent across, percent down, text), and its two axes."""

    lines: dict[str, str]
    points: list[tuple[float, float, str]]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class TrainingFigure:
    """A fine-tune's curves over its steps; ``best_at`` in percent where the best checkpoint was taken.

    ``learning_rate`` is None where it is not known.
    """

    loss: Plot
    learning_rate: Plot | None
    best_at: float | None


def metric_scale(values: Sequence[float]) -> Scale:
    """Return the axis of a metric's values: 0 to 1, 5 (judges), 100 (BLEU, chrF) or the next round number."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    top = next((bound for bound in (1.0, 5.0, 100.0) if high <= bound), None)
    return Scale(-round_up(-low) if low < 0 else 0.0, top if top is not None else round_up(high))


def round_up(value: float) -> float:
    """Return the least number of the form 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    factors = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return next(factor * power for factor in factors if factor * power >= value * (1 - 1e-9))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of ascending values: the least that ``share`` of them do not pass."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def histograms(latencies: Sequence[Sequence[float]]) -> Histograms | None:
    """Return the histograms of each run's latencies (ms) from zero to the highest 99th percentile.

    The axis ends there, so that one stalled request does not flatten everything else; what lies beyond it is
    counted. None where no run has a latency.
    """
    ordered = [sorted(run) for run in latencies]
    if not any(ordered):
        return None
    scale = Scale(0.0, round_up(max(percentile(run, 0.99) for run in ordered if run)))
    counts = [_bin(run, scale.high) for run in ordered]
    highest = max(max(run, default=0) for run in counts)
    return Histograms(
        [_histogram(run, bins, scale, highest) if run else None for run, bins in zip(ordered, counts, strict=True)],
        [Tick(scale.percent(tick), latency(tick) if tick else "0") for tick in scale.ticks()],
        latency(scale.high),
    )


def training_figure(record: TrainingRecord) -> TrainingFigure | None:
    """Return the loss and learning-rate curves, None where nothing was logged."""
    steps = [step.step for step in record.steps] + [point.step for point in record.validation]
    if not steps:
        return None
    x = Scale(0.0, float(max(steps)) or 1.0)
    best = x.percent(record.best_step) if record.best_step is not None else None
    return TrainingFigure(_losses(record, x), _learning_rate(record, x), best)


def _losses(record: TrainingRecord, x: Scale) -> Plot:
    """Return the curves of the losses that there are; what was measured on all validation data has points too."""
    curves = {
        "train": [(float(step.step), step.loss) for step in record.steps],
        "validation_batch": [(float(point.step), point.loss) for point in record.validation if point.of_a_batch],
        "validation": [(float(point.step), point.loss) for point in record.validation if not point.of_a_batch],
    }
    losses = [loss for curve in curves.values() for _, loss in curve]
    y = Scale(0.0, round_up(max(filter(math.isfinite, losses), default=1.0)))
    points = [
        (x.percent(point.step), 100 - y.percent(point.loss), _validation_label(point))
        for point in record.validation
        if math.isfinite(point.loss) and not point.of_a_batch
    ]
    lines = {name: _path(_thin(curve), x, y) for name, curve in curves.items() if curve}
    return Plot(lines, points, _axis(x, 6), _downward(_axis(y, 4)))


def _learning_rate(record: TrainingRecord, x: Scale) -> Plot | None:
    rates = _thin([(float(step.step), step.learning_rate) for step in record.steps if step.learning_rate is not None])
    if not rates:
        return None
    y = Scale(0.0, max(rate for _, rate in rates) or 1.0)
    top = Tick(0.0, f"{y.high:.2g}".replace("e-", "e−"))
    return Plot({"learning_rate": _path(rates, x, y)}, [], _axis(x, 6), [top])


def _validation_label(point: ValidationPoint) -> str:
    accuracy = "" if point.token_accuracy is None else f", token accuracy {number(point.token_accuracy)}"
    figures = f"validation loss {number(point.loss)}, perplexity {number(point.perplexity, 2)}{accuracy}"
    return f"step {point.step:,}: {figures}"


def _histogram(run: list[float], counts: list[int], scale: Scale, highest: int) -> Histogram:
    width = scale.high / len(counts)
    bars = [
        Bar(
            round(100 * index / len(counts), 3),
            round(100 / len(counts), 3),
            count / highest,
            f"{latency(index * width)} to {latency((index + 1) * width)}: {count}",
        )
        for index, count in enumerate(counts)
        if count
    ]
    percentiles = {name: percentile(run, share) for name, share in (("p50", 0.5), ("p95", 0.95))}
    marks = [Tick(scale.percent(value), f"{name} {latency(value)}") for name, value in percentiles.items()]
    return Histogram(bars, marks, sum(value > scale.high for value in run))


def _bin(run: Sequence[float], high: float) -> list[int]:
    counts = [0] * _BINS
    for value in run:
        if value <= high:
            counts[min(int(value / high * _BINS), _BINS - 1)] += 1
    return counts


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    every = math.ceil(len(points) / _MAX_POINTS)
    return [point for index, point in enumerate(points) if index % every == 0 or index == len(points) - 1]


def _path(points: list[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(
        f"{10 * x.percent(step):.1f},{1000 - 10 * y.percent(value):.1f}"
        for step, value in points
        if math.isfinite(value)
    )


def _downward(ticks: list[Tick]) -> list[Tick]:
    return [Tick(round(100 - tick.at, 3), tick.label) for tick in ticks]


def _axis(scale: Scale, count: int) -> list[Tick]:
    ticks = scale.ticks(count)
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)) if len(ticks) > 1 else 0
    return [Tick(scale.percent(tick), number(tick, digits)) for tick in ticks]


def _round_spacing(spacing: float) -> float:
    power = 10.0 ** math.floor(math.log10(spacing))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= spacing * (1 - 1e-9))
