"""The report's slices: a metric within the lines that share a value of a column, as a table for each column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phi3flow.comparison.slices import SMALL_SLICE, slice_rows
from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.report.headline import leading_metric
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.tables import MetricRow, difference_scale
from phi3flow.runs.conversations import cluster_labels
from phi3flow.stats import UNIT, estimate_mean
from phi3flow.storage.jsonl import Row
from phi3flow.text import plural


@dataclass(frozen=True)
class SliceTable:
    """A ``metric`` by ``column``; each row is named after its slice. ``note`` warns of many or small slices."""

    column: str
    metric: str
    runs: list[RunView]
    comparison: Comparison | None
    rows: list[MetricRow]
    note: str | None


def compared_slices(runs: Sequence[RunView], comparison: Comparison) -> list[SliceTable]:
    """Return a table for each column and confirmatory metric of a comparison; ``runs`` are its two."""
    metrics = list(dict.fromkeys(name for sliced in comparison.slices for name in sliced.metrics))
    tables = []
    for column in dict.fromkeys(sliced.column for sliced in comparison.slices):
        for metric in metrics:
            compared = {sliced.value: sliced.metrics[metric] for sliced in comparison.slices if sliced.column == column}
            rows = _compared_rows(compared, metric, runs)
            tables.append(SliceTable(column, metric, list(runs), comparison, rows, comparison.slices_note))
    return tables


def run_slices(run: RunView, columns: Sequence[str]) -> list[SliceTable]:
    """Return a table of the leading metric for each column of one run's data; none where it is not scored.

    Raises ConfigError where the data have no such column.
    """
    means = {name: estimate.mean for name, estimate in run.estimates.items()}
    metric = leading_metric([name for name, mean in means.items() if mean is not None and name in run.mean_scores])
    if metric is None or not run.rows:
        return []
    data = _rows(run)
    line_ids = list(data)
    clusters = dict(zip(line_ids, cluster_labels(list(data.values())), strict=True))
    scale, lower = scale_of(metric, [run]), metric in run.lower_is_better
    tables = []
    for column in columns:
        slices = slice_rows(list(data.values()), column)
        estimates = {
            line_slice.value: _estimate(run, metric, [line_ids[index] for index in line_slice.positions], clusters)
            for line_slice in slices
        }
        rows = [
            MetricRow(value, [estimate], None, False, scale, difference_scale([], reverse=lower), lower)
            for value, estimate in estimates.items()
        ]
        tables.append(
            SliceTable(column, metric, [run], None, rows, _note([len(line_slice.positions) for line_slice in slices]))
        )
    return tables


def _rows(run: RunView) -> dict[str, Row]:
    """Return the rows of the data by line_id, each once where lines ran repeatedly."""
    if run.manifest.repeats == 1:
        return run.rows
    first = {line_id for line_id, line in run.results.items() if line.line_number < run.manifest.lines}
    return {line_id: row for line_id, row in run.rows.items() if line_id in first}


def _note(sizes: Sequence[int]) -> str | None:
    small = sum(size < SMALL_SLICE for size in sizes)
    if not small:
        return None
    return f"{small} of {plural(len(sizes), 'slice')} have fewer than {SMALL_SLICE} lines: their intervals are wide"


def _compared_rows(compared: dict[str, MetricComparison], name: str, runs: Sequence[RunView]) -> list[MetricRow]:
    lower = any(name in run.lower_is_better for run in runs)
    scale, differences = scale_of(name, runs), difference_scale(list(compared.values()), reverse=lower)
    return [
        MetricRow(value, _means(metric), metric, False, scale, differences, lower) for value, metric in compared.items()
    ]


def _means(compared: MetricComparison) -> list[Estimate | None]:
    means = (compared.baseline, compared.candidate)
    return [Estimate(mean=mean, n=compared.n, method=compared.method) for mean in means]


def _estimate(run: RunView, metric: str, line_ids: Iterable[str], clusters: dict[str, str]) -> Estimate:
    """Return the mean over the slice's scored lines with its interval; the others count as failed where they did."""
    scores = {line_id: run.mean_scores[metric].get(line_id) for line_id in line_ids}
    values = {line_id: score for line_id, score in scores.items() if score is not None}
    failed = sum(
        score is None and (run.results[line_id].error is not None or line_id in run.score_errors)
        for line_id, score in scores.items()
    )
    return estimate_mean(
        list(values.values()),
        clusters=[clusters[line_id] for line_id in values],
        n_failed=failed,
        score_range=run.score_ranges.get(metric, UNIT),
    )
