"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run counts as the worst score of each metric that
applies to it (``failed_lines``); one whose scoring failed is recorded, and in no mean. Executions are kept as they end,
and are not paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.errors import DatasetError
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.flows.evaluation import AnsweredLine, Logged, read_logged, requests_per_line, unscored
from phi3flow.flows.observed import ObservedLine
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.images import data_folder
from phi3flow.records.lines import LineError
from phi3flow.records.scores import Estimate, FailedLines, Judging, LineScore, RunMetrics, ScoreRange
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder, lock_scores
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.scoring.estimates import estimate_metrics, metric_names
from phi3flow.scoring.evidence import collect_evidence
from phi3flow.scoring.execution import OpenEvaluation
from phi3flow.scoring.executions import KeptExecutions, Make
from phi3flow.scoring.failed_lines import count_failed
from phi3flow.scoring.judging import describe_judging
from phi3flow.scoring.processes import start_helpers
from phi3flow.scoring.ruler import complete_columns, describe_ruler, output_names
from phi3flow.scoring.scorer import ScoredLine, Scorer
from phi3flow.stats import known_range
from phi3flow.stats.agreement import measure_agreement
from phi3flow.storage.jsonl import Row
from phi3flow.workers.beside import Beside, aggregation_log


def score_run(
    run: RunFolder,
    *,
    flow: Flow,
    connections: ConnectionSource,
    column_mapping: Mapping[str, str] | None = None,
    limits: Limits = NO_LIMITS,
    repeats: int = 1,
    failed_lines: FailedLines = "least",
    fresh: bool = False,
    on_start: Callable[[KeptLines], None] = lambda _: None,
    on_line: Callable[[LineScore], None] = lambda _: None,
) -> RunMetrics:
    """Score ``run`` with the evaluation flow ``flow``; write and return its metrics.

    The scores are those of ``run.evaluation_of(flow)``. A scoring goes on where an earlier one of the same flow,
    mapping, connections and repeats was left: what was scored is kept while its answer is the same, and ``on_start``
    hears how much that is; ``fresh`` scores all of it anew. After a scoring that ended, what failed is tried again.
    An aggregation that fails costs no score.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``limits`` bound a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
    ``failed_lines`` says how a line that failed in the run is read; no endpoint is asked for one. What was there is
    replaced when all is scored.

    Raises DatasetError where the run has no lines or its data changed, ColumnMappingError, FlowError, EndpointError
    where an endpoint stays down, ConfigError where another process scores the run, StorageError.
    """
    order = _Order(flow, connections, column_mapping or {}, limits, repeats, failed_lines, fresh, on_start, on_line)
    with ExitStack() as held:
        held.enter_context(lock_scores(run.path))
        return _score(run, order, held)


@dataclass(frozen=True)
class KeptLines:
    """How many of the lines to score were scored before and are kept; or what changed, so that none is."""

    lines: int
    total: int
    changes: str | None = None


@dataclass(frozen=True)
class _Order:
    """What is to be done: the arguments of ``score_run``."""

    flow: Flow
    connections: ConnectionSource
    column_mapping: Mapping[str, str]
    limits: Limits
    repeats: int
    failed_lines: FailedLines
    fresh: bool
    on_start: Callable[[KeptLines], None]
    on_line: Callable[[LineScore], None]


@dataclass(frozen=True)
class _Scoring:
    """What an evaluation flow made of a run's lines, the metrics' ranges, what was logged, and who judged.

    ``absent`` says why metrics of the flow have no score on any line.
    """

    scores: Sequence[LineScore]
    absent: Mapping[str, str]
    ranges: Mapping[str, ScoreRange | None]
    logged: Logged
    aggregation_error: LineError | None
    judging: Judging | None
    executions: KeptExecutions


def _score(run: RunFolder, order: _Order, held: ExitStack) -> RunMetrics:
    """Score a run that is locked; what is opened is ``held``."""
    results, rows, flow = run.results(), run.data_rows(), order.flow
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    outputs = output_names(run, results, flow, order.column_mapping)
    mapping = complete_columns(order.column_mapping, run=run, flow=flow, outputs=outputs, results=results, rows=rows)
    folder = data_folder(Path(run.manifest.data))
    lines = [AnsweredLine(result, rows[result.line_number]).located(folder, run.path) for result in results]
    evaluation = run.evaluation_of(flow)
    scoring = _score_lines(lines, order, mapping, run.path / "scores" / evaluation, held)
    metrics = _measure(run, flow, scoring, rows, order.failed_lines).model_copy(
        update={"evaluation": describe_ruler(flow, mapping, outputs, scoring.judging), "repeats": order.repeats}
    )
    run.write_scores(evaluation, scoring.scores, metrics)
    write_pf_metrics(run)
    scoring.executions.end()
    return metrics


def _score_lines(
    lines: Sequence[AnsweredLine], order: _Order, mapping: dict[str, Any], folder: Path, held: ExitStack
) -> _Scoring:
    flow, repeats, limits = order.flow, order.repeats, order.limits
    answered = [line for line in lines if line.result.status == "Completed"]
    helped = 0 if requests_per_line(flow) else len(answered) * repeats
    with (
        start_helpers(OpenEvaluation(flow, dict(SINGLE_ATTEMPTS), mapping), helped) as helpers,
        open_flow(flow, connections=order.connections, environment=SINGLE_ATTEMPTS) as session,
    ):
        make = Make.of(session, mapping, repeats)
        kept = held.enter_context(KeptExecutions(folder, session, make, fresh=order.fresh))
        scorer = Scorer(
            session,
            mapping,
            kept=kept,
            limits=limits,
            repeats=repeats,
            helpers=helpers,
            on_beside=partial(_append_beside, folder),
            on_kept=lambda count: order.on_start(KeptLines(count, len(answered), kept.changes)),
            on_line=order.on_line,
        )
        scored = asyncio.run(scorer.score(answered))
        logged, error = _aggregate(session, scored, folder)
        judging, scores = _describe_judging(session, scored, repeats), _all_scores(lines, scored)
        evidence = collect_evidence(session, mapping, lines=lines, scores=scores, limits=limits, helpers=helpers)
    absent = _absent(scores)
    ranges = _ranges([*scores, *evidence.empty.values()], flow, absent)
    counted = count_failed(scores, evidence, ranges=ranges, lower_is_better=flow.lower_is_better)
    return _Scoring(counted, absent, ranges, logged, error, judging, kept)


def _measure(
    run: RunFolder, flow: Flow, scoring: _Scoring, rows: Sequence[Row], failed_lines: FailedLines
) -> RunMetrics:
    estimate = partial(
        estimate_metrics,
        scoring.scores,
        logged=scoring.logged.numbers,
        clusters=cluster_labels(rows),
        lines=run.manifest.lines,
        ranges=scoring.ranges,
    )
    answered_only = estimate(failed_lines="left out")
    metrics = answered_only
    if failed_lines == "least" and not all(score.answered for score in scoring.scores):
        metrics = estimate(failed_lines="least")
    metrics = {name: other for name, other in metrics.items() if name not in scoring.absent}
    return RunMetrics(
        metrics=metrics,
        answered_only={name: answered_only[name] for name in metrics if _differ(metrics[name], answered_only[name])},
        absent=dict(scoring.absent),
        failed_lines=failed_lines,
        texts=scoring.logged.texts,
        aggregation_error=scoring.aggregation_error,
        lower_is_better=flow.lower_is_better,
        score_ranges=flow.score_ranges,
        judging=scoring.judging,
    )


def _absent(scores: Sequence[LineScore]) -> dict[str, str]:
    """Return why metrics have no score, of those that no line has one of."""
    reasons = {name: reason for score in reversed(scores) for name, reason in score.absent.items()}
    numbers = {name for score in scores for name, value in score.scores.items() if value is not None}
    return {name: reason for name, reason in reasons.items() if name not in numbers}


def _ranges(scores: Sequence[LineScore], flow: Flow, absent: Container[str]) -> dict[str, ScoreRange | None]:
    names = [name for name in metric_names(scores) if name not in absent]
    if not any(score.answered for score in scores):
        names += flow.number_outputs  # of a flow that asks an endpoint nothing else is known then
    values: dict[str, list[float]] = {name: [] for name in names}
    for score in scores:
        for name, value in score.scores.items():
            if value is not None:
                values[name].append(value)
    return {name: known_range(name, flow.score_ranges, [column]) for name, column in values.items()}


def _differ(least: Estimate, answered_only: Estimate) -> bool:
    fields = {"mean", "low", "high", "n"}
    return least.model_dump(include=fields) != answered_only.model_dump(include=fields)


def _append_beside(folder: Path, beside: Beside) -> None:
    """Append what is kept beside scores to its files, which outlive the scoring."""
    for name, content in beside:
        with (folder / name).open("ab") as file:
            file.write(content)


def _aggregate(session: FlowSession, scored: Sequence[ScoredLine], folder: Path) -> tuple[Logged, LineError | None]:
    """Return what the aggregation logged, and why it failed if it did: that costs no line its score."""
    executions = [execution for line in scored for execution in line.executions]
    if not executions or not session.has_aggregation:
        return Logged(), None
    redactor = Redactor(session)
    observed = ObservedLine()
    values, raised = session.exec_aggregation(
        [execution.inputs for execution in executions], [execution.line for execution in executions], observed
    )
    _append_beside(folder, aggregation_log(observed, redactor))
    error = redactor.describe(raised).error if raised else None
    return read_logged(values, redact=redactor.answer), error


def _describe_judging(session: FlowSession, scored: Sequence[ScoredLine], repeats: int) -> Judging | None:
    names = dict.fromkeys(name for line in scored for name in line.score.verdicts)
    agreement = {name: measure_agreement([line.score.verdicts.get(name, ()) for line in scored]) for name in names}
    return describe_judging(
        session,
        [execution.line.outputs for line in scored for execution in line.executions],
        repeats=repeats,
        agreement={name: alpha for name, alpha in agreement.items() if alpha is not None},
    )


def _all_scores(lines: Sequence[AnsweredLine], scored: Sequence[ScoredLine]) -> list[LineScore]:
    """Return a score for each line of the run, those without an answer too, by line_number."""
    failed = [unscored(line.result, line.result.error) for line in lines if line.result.status == "Failed"]
    return sorted([*failed, *(line.score for line in scored)], key=lambda score: score.line_number)
