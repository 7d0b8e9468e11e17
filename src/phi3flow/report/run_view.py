"""A run read once, in the form that the report's parts need."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phi3flow.errors import DatasetError
from phi3flow.records.lines import LineResult
from phi3flow.records.runs import Manifest
from phi3flow.records.scores import Estimate, Judging, LineScore, RunMetrics, ScoreRange
from phi3flow.report.data_view import DataView, DataViews
from phi3flow.report.figures import Scale, metric_scale, percentile
from phi3flow.runs.repeats import average_repeats
from phi3flow.storage.jsonl import Row

if TYPE_CHECKING:
    from phi3flow.runs.folder import RunFolder

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Failure:
    """Lines of a run that failed alike: the first one's ``line_id`` stands for them."""

    type: str
    message: str
    status_code: int | None
    count: int
    line_id: str


@dataclass(frozen=True)
class RunView:
    """One run: its results and scores by line_id, metrics by full name (``answer_match.f1``).

    ``rows`` is empty and ``data_note`` says why where the data file is gone or has changed since the run:
    answers and scores can still be read without it. ``lower_is_better`` names the metrics that count something bad,
    ``score_ranges`` has the ranges of scores that are not 0 to 1, ``judging`` who gave an evaluation's scores.
    ``mean_scores`` are those of the data's lines, averaged where lines ran repeatedly.
    """

    name: str
    manifest: Manifest
    results: dict[str, LineResult]
    rows: dict[str, Row]
    data_note: str | None
    evaluations: list[str]
    estimates: dict[str, Estimate]
    scores: dict[str, dict[str, float | None]]
    mean_scores: dict[str, dict[str, float | None]]
    score_errors: dict[str, list[str]]
    lower_is_better: frozenset[str]
    score_ranges: dict[str, ScoreRange]
    judging: dict[str, Judging]
    data: DataView

    @property
    def total(self) -> int:
        """How many lines the run has, attempted or not."""
        return max(self.manifest.counts.total, len(self.results))

    @property
    def completed(self) -> int:
        """How many lines have an answer."""
        return sum(line.status == "Completed" for line in self.results.values())

    @property
    def failed(self) -> int:
        """How many lines were attempted and have none."""
        return len(self.results) - self.completed

    @property
    def latencies(self) -> list[float]:
        """The latencies in ms of the completed lines, as far as they are known."""
        completed = (line for line in self.results.values() if line.status == "Completed")
        return [line.latency_ms for line in completed if line.latency_ms is not None]

    @property
    def latency_percentiles(self) -> dict[str, float]:
        """Nearest-rank percentiles in ms by name, and the maximum; empty where no line completed."""
        ordered = sorted(self.latencies)
        if not ordered:
            return {}
        return {name: percentile(ordered, share) for name, share in _PERCENTILES.items()} | {"max": ordered[-1]}

    @property
    def failures(self) -> list[Failure]:
        """The failed lines by type, message and status, the most frequent first."""
        failed = [line for line in self.results.values() if line.error]
        kinds = Counter(line.error for line in failed)
        first = {line.error: line.line_id for line in reversed(failed)}
        return [
            Failure(error.type, error.message, error.status_code, count, first[error])
            for error, count in kinds.most_common()
            if error
        ]


def view_run(run: RunFolder, data: DataViews | None = None) -> RunView:
    """Read everything the report shows of a run; ``data`` holds what was read of its data before."""
    results = run.results()
    rows, note = _rows(run, results)
    evaluations = run.evaluations()
    metrics = {evaluation: run.metrics(evaluation) for evaluation in evaluations}
    scored = {evaluation: run.scores(evaluation) for evaluation in evaluations}
    manifest = run.manifest
    return RunView(
        name=run.name,
        manifest=manifest,
        results={line.line_id: line for line in results},
        rows=rows,
        data_note=note,
        evaluations=evaluations,
        estimates={
            f"{evaluation}.{metric}": estimate
            for evaluation, run_metrics in metrics.items()
            for metric, estimate in run_metrics.metrics.items()
        },
        scores=_scores_by_metric(scored, metrics),
        mean_scores=_scores_by_metric(_averaged(scored, manifest), metrics),
        score_errors=_score_errors(scored),
        lower_is_better=frozenset(
            f"{evaluation}.{metric}"
            for evaluation, run_metrics in metrics.items()
            for metric in run_metrics.lower_is_better
        ),
        score_ranges={
            f"{evaluation}.{metric}": bounds
            for evaluation, run_metrics in metrics.items()
            for metric, bounds in run_metrics.score_ranges.items()
        },
        judging={evaluation: run_metrics.judging for evaluation, run_metrics in metrics.items() if run_metrics.judging},
        data=(data or DataViews()).of(run),
    )


def scale_of(metric: str, runs: Iterable[RunView]) -> Scale:
    """Return the axis that holds a metric's means and line scores in all ``runs``.

    Intervals have no say: Student's t reaches beyond what a score can be, and would turn 0 to 1 into 0 to 5.
    """
    values: list[float] = []
    for run in runs:
        mean = run.estimates[metric].mean if metric in run.estimates else None
        values += [value for value in (mean, *run.scores.get(metric, {}).values()) if value is not None]
    return metric_scale(values)


def question(line: LineResult) -> str:
    """Return what was asked: the input ``question``, else every input that is a text."""
    if isinstance(line.inputs.get("question"), str):
        return str(line.inputs["question"])
    texts = {name: value for name, value in line.inputs.items() if isinstance(value, str)}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{name}: {value}" for name, value in texts.items()) or as_text(line.inputs)


def answer(line: LineResult) -> str:
    """Return what was answered: the output ``answer``, else the only output, else all of them as JSON."""
    outputs = line.outputs or {}
    if "answer" in outputs:
        return as_text(outputs["answer"])
    return as_text(next(iter(outputs.values())) if len(outputs) == 1 else outputs)


def history(line: LineResult) -> list[tuple[str, str]]:
    """Return the conversation so far as (role, text) pairs, from Prompt flow's form of chat_history."""
    turns = line.inputs.get("chat_history")
    spoken: list[tuple[str, str]] = []
    for turn in turns if isinstance(turns, list) else []:
        if not isinstance(turn, Mapping):
            continue
        for side, role, name in (("inputs", "user", "question"), ("outputs", "assistant", "answer")):
            fields = turn.get(side)
            if isinstance(fields, Mapping) and fields:
                spoken.append((role, as_text(fields.get(name, fields))))
    return spoken


def texts(value: object) -> list[str]:
    """Return a column that holds one text or a list of them as a list; nothing where it is empty."""
    values = value if isinstance(value, list) else [value]
    return [as_text(item) for item in values if item not in (None, "")]


def as_text(value: object) -> str:
    """Return a text as it is and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _rows(run: RunFolder, results: Iterable[LineResult]) -> tuple[dict[str, Row], str | None]:
    try:
        rows = run.data_rows()
    except DatasetError as error:
        return {}, str(error)
    return {line.line_id: rows[line.line_number] for line in results if line.line_number < len(rows)}, None


def _averaged(scored: Mapping[str, list[LineScore]], manifest: Manifest) -> Mapping[str, list[LineScore]]:
    if manifest.repeats == 1:
        return scored
    return {evaluation: average_repeats(lines, manifest.lines) for evaluation, lines in scored.items()}


def _scores_by_metric(
    scored: Mapping[str, list[LineScore]], metrics: Mapping[str, RunMetrics]
) -> dict[str, dict[str, float | None]]:
    by_metric: dict[str, dict[str, float | None]] = {}
    for evaluation, lines in scored.items():
        for line in lines:
            for metric in {**line.scores, **line.counted_as}:
                score = line.value(metric, metrics[evaluation].failed_lines)
                finite = score if score is not None and math.isfinite(score) else None
                by_metric.setdefault(f"{evaluation}.{metric}", {})[line.line_id] = finite
    return by_metric


def _score_errors(scored: Mapping[str, list[LineScore]]) -> dict[str, list[str]]:
    """Return what went wrong while scoring, by line_id."""
    errors: dict[str, list[str]] = {}
    for evaluation, lines in scored.items():
        for line in lines:
            if line.error:
                errors.setdefault(line.line_id, []).append(f"{evaluation}: {line.error.type}: {line.error.message}")
    return errors
