"""Comparisons as a person reads them: a table, and a sentence for each metric that a comparison was made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from phi3flow.records.comparisons import Comparison, MetricComparison, Preferences


def render_comparisons(comparisons: Sequence[Comparison]) -> RenderableType:
    """Return comparisons with one baseline as a person reads them: a matrix where there are several, then each."""
    from rich.console import Group

    matrix = [_matrix(comparisons)] if len(comparisons) > 1 else []
    return Group(*matrix, *map(render_comparison, comparisons))


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return a comparison as a person reads it: the table, a sentence for each confirmatory metric, the slices."""
    from rich.console import Group

    from phi3flow.comparison.conclusions import describe_verdict

    table = _table(f"{comparison.candidate} against {comparison.baseline}", "metric", "baseline", "candidate")
    for name in ("difference [95 %]", "p", "won/lost/tied"):
        table.add_column(name, justify="right")
    confirmatory = _confirmatory(comparison)
    for name, metric in comparison.metrics.items():
        table.add_row(
            name,
            *_row(metric),
            style="bold" if name in confirmatory else None,
            end_section=bool(confirmatory) and name == confirmatory[-1],
        )
    unmatched = comparison.unmatched
    lines = f"{comparison.n_paired} lines paired"
    if unmatched.baseline or unmatched.candidate:
        lines += f"; only in the baseline: {unmatched.baseline}, only in the candidate: {unmatched.candidate}"
    sentences = [describe_verdict(name, comparison) for name in confirmatory]
    slices = [_slices(comparison, name) for name in confirmatory if comparison.slices]
    note = [f"Slices: {comparison.slices_note}."] if comparison.slices_note else []
    return Group(table, "\n".join([lines + ".", *sentences]), *slices, *note)


def describe_preferences(preferences: Preferences) -> str:
    """Return one sentence on what a judge prefers, and one on how far it can be trusted."""
    preference = preferences.preference
    text = (
        f"Judged: {preferences.candidate} is preferred in {preferences.wins} of {preferences.n} pairs, "
        f"{preferences.baseline} in {preferences.losses}, neither in {preferences.ties}"
    )
    if preference.low is not None and preference.high is not None:
        text += f": {preference.mean:+.3f} [{preference.low:+.3f}, {preference.high:+.3f}], p {_p(preferences.p)}"
    text += f". {preferences.flipped} verdicts went with the order, which makes them ties"
    failure = preferences.failure
    text += f"; {preferences.n_failed} pairs have no verdict: {failure.message}." if failure else "."
    return text


def _matrix(comparisons: Sequence[Comparison]) -> Table:
    candidates = [comparison.candidate for comparison in comparisons]
    table = _table(f"against {comparisons[0].baseline}", "metric", "baseline", *candidates)
    for name, first in comparisons[0].metrics.items():
        metrics = [comparison.metrics.get(name) for comparison in comparisons]
        cells = [_difference(metric) if metric else "none" for metric in metrics]
        bold = any(metric and metric.p_holm is not None for metric in metrics)
        table.add_row(name, _number(first.baseline), *cells, style="bold" if bold else None)
    return table


def _slices(comparison: Comparison, name: str) -> Table:
    table = _table(f"{name} by slice", "slice", "lines", "baseline", "candidate")
    for header in ("difference [95 %]", "p (Holm)", "won/lost/tied"):
        table.add_column(header, justify="right")
    for slice_ in comparison.slices:
        metric = slice_.metrics[name]
        before, after, difference, _, counts = _row(metric)
        label = f"{slice_.column}: {slice_.value}"
        table.add_row(label, str(metric.n), before, after, difference, _p(metric.p_holm), counts)
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _row(metric: MetricComparison) -> tuple[str, str, str, str, str]:
    counts = "" if metric.wins is None else f"{metric.wins}/{metric.losses}/{metric.ties}"
    return _number(metric.baseline), _number(metric.candidate), _difference(metric), _p(metric.p), counts


def _confirmatory(comparison: Comparison) -> list[str]:
    """Return the metrics that the comparison was made for; they come first, also where none has a p."""
    named = [name for name, metric in comparison.metrics.items() if metric.p_holm is not None]
    return named or list(comparison.metrics)[:1]


def _difference(metric: MetricComparison) -> str:
    return f"{_number(metric.difference.mean, sign=True)} {_interval(metric)}".rstrip()


def _number(value: float | None, *, sign: bool = False) -> str:
    return "none" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def _interval(metric: MetricComparison) -> str:
    low, high = metric.difference.low, metric.difference.high
    return "" if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]"


def _p(p: float | None) -> str:
    return "none" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
