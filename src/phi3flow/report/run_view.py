"""A run read once, in the form that the report's parts need."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from phi3flow.comparison.rulers import Measured, match_evaluations
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.pacing.failures import is_endpoint_failure
from phi3flow.records.lines import LineResult, Traceback
from phi3flow.records.runs import Manifest
from phi3flow.records.scores import Estimate, LineScore, RunMetrics, ScoreRange
from phi3flow.records.traces import LineTrace
from phi3flow.report.data_view import DataView, DataViews
from phi3flow.report.figures import Scale, metric_scale, percentile
from phi3flow.runs.repeats import average_repeats
from phi3flow.storage.jsonl import Row

if TYPE_CHECKING:
    from phi3flow.runs.folder import RunFolder

T = TypeVar("T")

_SHORT = 8  # of a fingerprint, as in the names of folders
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Failure:
    """Lines of a run that failed alike: the first one's ``line_id``, and where it failed, stand for them."""

    type: str
    message: str
    status_code: int | None
    count: int
    line_id: str
    traceback: Traceback | None = None


@dataclass(frozen=True)
class RunView:
    """One run: its results by line_id; scores and metrics by full name (``answer_match.f1``).

    ``rows`` is empty and ``data_note`` says why where the data file is gone or has changed since the run:
    answers and scores can still be read without it. ``metrics`` and ``scored``, the scores of its lines, are by
    evaluation; ``score_again`` says of those that are not of the run as it is why, with the command that scores anew;
    ``tracebacks`` and ``traces`` are by line_number.
    """

    name: str
    manifest: Manifest
    results: dict[str, LineResult]
    rows: dict[str, Row]
    data_note: str | None
    metrics: dict[str, RunMetrics]
    scored: dict[str, list[LineScore]]
    score_again: dict[str, str]
    data: DataView
    folder: Path = Path()
    tracebacks: Mapping[int, Traceback] = field(default_factory=dict)
    traces: Mapping[int, LineTrace] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many lines of the data the run has, attempted or not."""
        return max(self.manifest.counts.total // self.manifest.repeats, self._count(self.results.values()))

    @property
    def completed(self) -> int:
        """How many lines of the data have an answer; one that ran repeatedly, in each of its executions."""
        return self._count(self.results.values()) - self.failed

    @property
    def failed(self) -> int:
        """How many lines of the data were attempted and have none; one that ran repeatedly, in some execution."""
        return self._count(line for line in self.results.values() if line.status == "Failed")

    @property
    def endpoint_failed(self) -> int:
        """How many of the failed lines the endpoint failed: another try may answer them."""
        return self._count(line for line in self.results.values() if line.error and is_endpoint_failure(line.error))

    @property
    def is_answered(self) -> bool:
        """Whether any execution of a line has an answer."""
        return any(line.status == "Completed" for line in self.results.values())

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
        first = {line.error: line for line in reversed(failed)}
        return [
            Failure(
                error.type,
                error.message,
                error.status_code,
                count,
                first[error].line_id,
                self.tracebacks.get(first[error].line_number),
            )
            for error, count in kinds.most_common()
            if error
        ]

    @property
    def evaluations(self) -> list[str]:
        """The evaluations that scored the run."""
        return list(self.metrics)

    @property
    def states_reading(self) -> bool:
        """Whether the scores say how failed lines count in them; version 1's did as each metric would have it."""
        return all(metrics.evaluation for metrics in self.metrics.values())

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """The run's own estimates, over all of its lines, by the reading of failed lines that it is scored with."""
        return self._by_metric(lambda metrics: metrics.metrics)

    @cached_property
    def answered_only(self) -> dict[str, Estimate]:
        """Those that differ where failed lines are left out."""
        return self._by_metric(lambda metrics: metrics.answered_only)

    @cached_property
    def texts(self) -> dict[str, str]:
        """What its aggregations logged as text."""
        return self._by_metric(lambda metrics: metrics.texts)

    @cached_property
    def lower_is_better(self) -> frozenset[str]:
        """The metrics that count something bad."""
        return frozenset(self._by_metric(lambda metrics: dict.fromkeys(metrics.lower_is_better)))

    @cached_property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """The score of each execution of a line by its line_id: what a failed one counts as, where it counts."""
        return _scores_by_metric(self.scored, self.metrics)

    @cached_property
    def lines(self) -> dict[str, list[LineScore]]:
        """The scores of the data's lines by evaluation, averaged where lines ran repeatedly."""
        if self.manifest.repeats == 1:
            return self.scored
        return {
            evaluation: average_repeats(lines, self.manifest.lines, self.metrics[evaluation].failed_lines)
            for evaluation, lines in self.scored.items()
        }

    @cached_property
    def mean_scores(self) -> dict[str, dict[str, float | None]]:
        """The score of each of the data's lines by its line_id."""
        return self.scores if self.manifest.repeats == 1 else _scores_by_metric(self.lines, self.metrics)

    @cached_property
    def score_errors(self) -> dict[str, list[str]]:
        """What went wrong while the answers were scored, by line_id: the judge's failures, not the run's."""
        errors: dict[str, list[str]] = {}
        for evaluation, lines in self.scored.items():
            for line in lines:
                if line.answered and not self._has_failed(line.line_id) and (problems := _problems(evaluation, line)):
                    errors.setdefault(line.line_id, []).extend(problems)
        return errors

    @cached_property
    def line_texts(self) -> dict[str, dict[str, str]]:
        """What the evaluations said of lines in words, such as a judge's reason: by full name, then line_id."""
        texts: dict[str, dict[str, str]] = {}
        for evaluation, lines in self.scored.items():
            for line in lines:
                for name, text in line.texts.items():
                    texts.setdefault(f"{evaluation}.{name}", {})[line.line_id] = text
        return texts

    def _by_metric(self, read: Callable[[RunMetrics], Mapping[str, T]]) -> dict[str, T]:
        return {
            f"{evaluation}.{name}": value
            for evaluation, metrics in self.metrics.items()
            for name, value in read(metrics).items()
        }

    def _count(self, executions: Iterable[LineResult]) -> int:
        lines = self.manifest.lines or 1
        if self.manifest.repeats == 1:
            return sum(1 for _ in executions)
        return len({line.line_number % lines for line in executions})

    def _has_failed(self, line_id: str) -> bool:
        line = self.results.get(line_id)
        return line is not None and line.status == "Failed"


def view_runs(runs: Sequence[RunFolder], data: DataViews | None = None) -> list[RunView]:
    """Read runs that are shown beside the first: an evaluation flow has one name in all, as comparisons say it.

    Folders of one name may hold the scores of two flows, and folders of two names those of one.
    """
    names: list[dict[str, str]] = [{} for _ in runs]
    for run, of_run in zip(runs[1:], names[1:], strict=True):
        with contextlib.suppress(ConfigError):  # they share no evaluation
            for match in match_evaluations(runs[0], run).alike:
                names[0].setdefault(match.baseline.folder, match.name)
                of_run[match.candidate.folder] = match.name
    data = data or DataViews()
    return [view_run(run, data, of_run) for run, of_run in zip(runs, names, strict=True)]


def view_run(run: RunFolder, data: DataViews | None = None, names: Mapping[str, str] = MappingProxyType({})) -> RunView:
    """Read everything the report shows of a run; ``data`` holds what was read of its data before.

    ``names`` are those of evaluations by the folder of their scores; a folder that it does not name has its own name,
    with the fingerprint where that is another's.
    """
    results = run.results()
    rows, note = _rows(run, results)
    measured = {
        names.get(evaluation.folder, _own_name(evaluation, names)): evaluation
        for evaluation in (Measured(run, folder, run.metrics(folder)) for folder in run.evaluations())
    }
    scored = {name: run.scores(evaluation.folder) for name, evaluation in measured.items()}
    return RunView(
        name=run.name,
        manifest=run.manifest,
        results={line.line_id: line for line in results},
        rows=rows,
        data_note=note,
        metrics={name: evaluation.metrics for name, evaluation in measured.items()},
        scored=scored,
        score_again={
            name: problem
            for name, evaluation in measured.items()
            if (problem := _score_again(evaluation, scored[name]))
        },
        data=(data or DataViews()).of(run),
        folder=run.path,
        tracebacks=run.tracebacks(),
        traces=run.traces(),
    )


def scale_of(metric: str, runs: Iterable[RunView]) -> Scale:
    """Return the axis that holds a metric's means and line scores in all ``runs``: its declared range, if there is one.

    Intervals have no say: Student's t reaches beyond what a score can be, and would turn 0 to 1 into 0 to 5.
    """
    values, declared = list[float](), list[ScoreRange]()
    evaluation, _, name = metric.rpartition(".")
    for run in runs:
        mean = run.estimates[metric].mean if metric in run.estimates else None
        values += [value for value in (mean, *run.scores.get(metric, {}).values()) if value is not None]
        if evaluation in run.metrics and name in run.metrics[evaluation].score_ranges:
            declared.append(run.metrics[evaluation].score_ranges[name])
    if declared:
        values += [end for ends in declared for end in ends]
        return Scale(min(values), max(values))
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


def _own_name(evaluation: Measured, names: Mapping[str, str]) -> str:
    if evaluation.folder in names.values() and evaluation.ruler:
        return f"{evaluation.folder}-{evaluation.ruler.flow_fingerprint[:_SHORT]}"
    return evaluation.folder


def _score_again(evaluation: Measured, scores: Sequence[LineScore]) -> str | None:
    """Return why an evaluation's scores are not those of the run as it is, and the command that scores anew."""
    if evaluation.ruler is None:
        return (
            f"the scores of {evaluation.folder} are an earlier build's, which did not note what measured them: they "
            f"are shown as they are, and compared with no other run's. {evaluation.score_again()} scores it anew"
        )
    return evaluation.outdated(scores)


def _rows(run: RunFolder, results: Iterable[LineResult]) -> tuple[dict[str, Row], str | None]:
    try:
        rows = run.data_rows()
    except DatasetError as error:
        return {}, str(error)
    return {line.line_id: rows[line.line_number] for line in results if line.line_number < len(rows)}, None


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


def _problems(evaluation: str, line: LineScore) -> list[str]:
    """Return why an answer has no score: the one reason of all of its metrics, else each metric's."""
    if line.error:
        return [f"{evaluation}: {line.error.type}: {line.error.message}"]
    return [f"{evaluation}.{metric}: {reason}" for metric, reason in line.failures.items()]
