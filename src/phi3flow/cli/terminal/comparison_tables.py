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

    table = _table(f"{comparison.candidate} against {comparison.baseline}", "metric", "baseline", "candidate")
    for name in ("difference [95 %]", "p", "p_holm", "won/lost/tied", "verdict"):
        table.add_column(name, justify="right")
    confirmatory = _confirmatory(comparison)
    for name, metric in comparison.metrics.items():
        table.add_row(
            name,
            *_row(metric),
            style="bold" if name in confirmatory else None,
            end_section=bool(confirmatory) and name == confirmatory[-1],
        )
    slices = [_slices(comparison, name) for name in confirmatory if comparison.slices]
    note = [f"Slices: {comparison.slices_note}."] if comparison.slices_note else []
    return Group(table, "\n".join(_sentences(comparison, confirmatory)), *slices, *note)


def _sentences(comparison: Comparison, confirmatory: Sequence[str]) -> list[str]:
    from phi3flow.comparison.conclusions import describe_failures, describe_verdict
    from phi3flow.text import plural

    unmatched = comparison.unmatched
    lines = f"{plural(comparison.n_paired, 'line')} paired"
    if unmatched.baseline or unmatched.candidate:
        lines += f"; only in the baseline: {unmatched.baseline}, only in the candidate: {unmatched.candidate}"
    runs = {"baseline": comparison.baseline, "candidate": comparison.candidate}
    if failures := describe_failures(comparison.failed, **runs):
        lines += f"; {failures}"
    sentences = [describe_verdict(name, comparison) for name in confirmatory]
    if len(comparison.metrics) > len(confirmatory):
        sentences.append("All other metrics are exploratory: a verdict on one is by its own p alone.")
    return [f"{lines}.", *sentences, *(f"{note}." for note in comparison.notes)]


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
    for name in comparisons[0].metrics:
        metrics = [comparison.metrics.get(name) for comparison in comparisons]
        cells = [_difference(metric) if metric else "none" for metric in metrics]
        baselines = dict.fromkeys(_number(metric.baseline) for metric in metrics if metric)
        bold = any(metric and metric.confirmatory for metric in metrics)
        table.add_row(name, " / ".join(baselines), *cells, style="bold" if bold else None)
    return table


def _slices(comparison: Comparison, name: str) -> Table:
    table = _table(f"{name} by slice", "slice", "lines", "baseline", "candidate")
    for header in ("difference [95 %]", "p_holm", "won/lost/tied", "failed", "verdict"):
        table.add_column(header, justify="right")
    for slice_ in comparison.slices:
        metric = slice_.metrics[name]
        before, after, difference, _, p_holm, counts, verdict = _row(metric)
        label, failed = f"{slice_.column}: {slice_.value}", f"{metric.failed.baseline}/{metric.failed.candidate}"
        table.add_row(label, str(metric.n), before, after, difference, p_holm, counts, failed, verdict)
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _row(metric: MetricComparison) -> tuple[str, str, str, str, str, str, str]:
    counts = "" if metric.wins is None else f"{metric.wins}/{metric.losses}/{metric.ties}"
    p_holm = _p(metric.p_holm) if metric.confirmatory else ""
    before, after = _number(metric.baseline), _number(metric.candidate)
    return before, after, _difference(metric), _p(metric.p), p_holm, counts, metric.verdict


def _confirmatory(comparison: Comparison) -> list[str]:
    """Return the metrics that the comparison was made for; they come first."""
    return [name for name, metric in comparison.metrics.items() if metric.confirmatory]


def _difference(metric: MetricComparison) -> str:
    return f"{_number(metric.difference.mean, sign=True)} {_interval(metric)}".rstrip()


def _number(value: float | None, *, sign: bool = False) -> str:
    return "none" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def _interval(metric: MetricComparison) -> str:
    low, high = metric.difference.low, metric.difference.high
    if low is None or high is None:
        return ""
    from phi3flow.stats import ALPHA
    from phi3flow.text import confidence

    share = "" if metric.level == ALPHA else f" ({confidence(metric.level)})"
    return f"[{low:+.3f}, {high:+.3f}]{share}"


def _p(p: float | None) -> str:
    return "none" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
