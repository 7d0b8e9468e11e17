"""The report's slices: a metric within the lines that share a value of a column, as a table for each column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.comparison.slices import SMALL_SLICE, slice_rows
from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.report.headline import leading_metric
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.tables import MetricRow, answered_means, difference_scale, paired_means
from phi3flow.runs.conversations import cluster_labels
from phi3flow.stats import estimate_mean, known_range
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

    @property
    def sentences(self) -> list[str]:
        """What each slice of a comparison shows."""
        if self.comparison is None:
            return []
        compared = {row.name: row.comparison for row in self.rows if row.comparison}
        of_slices = self.comparison.model_copy(update={"metrics": compared})
        return [describe_verdict(value, of_slices) for value in compared]


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
    lines, estimate = list(data), _estimator(run, metric, cluster_labels(list(data.values())))
    scale, lower = scale_of(metric, [run]), metric in run.lower_is_better
    tables = []
    for column in columns:
        slices = slice_rows(list(data.values()), column)
        rows = [
            MetricRow(
                line_slice.value,
                [estimate([lines[index] for index in line_slice.positions], line_slice.positions)],
                None,
                False,
                scale,
                difference_scale([], reverse=lower),
                lower,
            )
            for line_slice in slices
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
        MetricRow(
            value,
            paired_means(metric),
            metric,
            False,
            scale,
            differences,
            lower,
            answered_means(metric),
        )
        for value, metric in compared.items()
    ]


def _estimator(
    run: RunView, metric: str, clusters: Sequence[str]
) -> Callable[[Sequence[str], Sequence[int]], Estimate]:
    """Return what estimates a slice: line_ids, at positions in ``clusters``; failed lines are read as in the whole."""
    evaluation, _, name = metric.rpartition(".")
    scores, lines = run.mean_scores[metric], {line.line_id: line for line in run.lines[evaluation]}
    present = [score for score in scores.values() if score is not None]
    score_range = known_range(name, run.metrics[evaluation].score_ranges, [present])

    def estimate(line_ids: Sequence[str], positions: Sequence[int]) -> Estimate:
        scored = [
            (score, clusters[position])
            for line_id, position in zip(line_ids, positions, strict=True)
            if (score := scores.get(line_id)) is not None
        ]
        of_slice = [lines[line_id] for line_id in line_ids if line_id in lines]
        return estimate_mean(
            [score for score, _ in scored],
            clusters=[cluster for _, cluster in scored],
            n_failed=sum(name in line.failures or name in line.counted_as for line in of_slice),
            score_range=score_range,
        ).model_copy(update={"n_unscored": sum(name in line.failures for line in of_slice)})

    return estimate
