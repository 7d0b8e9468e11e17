"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run has no score, and neither has one whose
scoring failed: both are recorded, and left out of the means. Executions are kept as they end, and are not paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.errors import DatasetError
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.flows.evaluation import (
    AnsweredLine,
    Logged,
    complete_evaluation,
    read_logged,
    requests_per_line,
    unscored,
)
from phi3flow.pacing.failures import describe_failure
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.scores import FailedLines, Judging, LineScore, RunMetrics
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder, lock_scores
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.runs.repeats import count_failed
from phi3flow.scoring.estimates import estimate_metrics, least_scores
from phi3flow.scoring.execution import OpenEvaluation
from phi3flow.scoring.executions import KeptExecutions, Make
from phi3flow.scoring.judging import describe_judging
from phi3flow.scoring.processes import start_helpers
from phi3flow.scoring.scorer import ScoredLine, Scorer
from phi3flow.stats.agreement import measure_agreement
from phi3flow.storage.jsonl import Row


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

    A scoring goes on where an earlier one of the same flow, mapping, connections and repeats was left: what was scored
    is kept while its answer is the same, and ``on_start`` hears how much that is; ``fresh`` scores all of it anew.
    After a scoring that ended, what failed is tried again. An aggregation that fails costs no score.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``limits`` bound a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
    ``failed_lines`` says how a line that failed in the run is read. What was there is replaced when all is scored.

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
    """What an evaluation flow made of the lines: their scores, what its aggregation logged, and who judged."""

    lines: Sequence[ScoredLine] = ()
    logged: Logged = field(default_factory=Logged)
    aggregation_error: LineError | None = None
    judging: Judging | None = None
    executions: KeptExecutions | None = None


def _score(run: RunFolder, order: _Order, held: ExitStack) -> RunMetrics:
    """Score a run that is locked; what is opened is ``held``."""
    results, rows, scoring, flow = run.results(), run.data_rows(), _Scoring(), order.flow
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    answered = [AnsweredLine(result, rows[result.line_number]) for result in results if result.status == "Completed"]
    if answered:
        mapping = _complete(order.column_mapping, run, flow, [line.result for line in answered], rows)
        scoring = _score_lines(answered, order, mapping, run.path / "scores" / flow.name, held)
    scores = _all_scores(results, scoring.lines)
    scores = count_failed(scores, least_scores(scores, flow)) if order.failed_lines == "least" else scores
    metrics = _measure(run, flow, scores, scoring, rows).model_copy(
        update={
            "failed_lines": order.failed_lines,
            "texts": scoring.logged.texts,
            "aggregation_error": scoring.aggregation_error,
            "repeats": order.repeats,
        }
    )
    run.write_scores(flow.name, scores, metrics)
    write_pf_metrics(run)
    if scoring.executions:
        scoring.executions.end()
    return metrics


def _score_lines(
    lines: Sequence[AnsweredLine], order: _Order, mapping: dict[str, Any], folder: Path, held: ExitStack
) -> _Scoring:
    flow, repeats = order.flow, order.repeats
    helped = 0 if requests_per_line(flow) else len(lines) * repeats
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
            limits=order.limits,
            repeats=repeats,
            helpers=helpers,
            on_kept=lambda count: order.on_start(KeptLines(count, len(lines), kept.changes)),
            on_line=order.on_line,
        )
        scored = asyncio.run(scorer.score(lines))
        logged, error = _aggregate(session, scored)
        return _Scoring(scored, logged, error, _describe_judging(session, scored, repeats), kept)


def _measure(
    run: RunFolder, flow: Flow, scores: Sequence[LineScore], scoring: _Scoring, rows: Sequence[Row]
) -> RunMetrics:
    return RunMetrics(
        metrics=estimate_metrics(
            scores,
            logged=scoring.logged.numbers,
            clusters=cluster_labels(rows),
            lines=run.manifest.lines,
            score_ranges=flow.score_ranges,
        ),
        lower_is_better=flow.lower_is_better,
        score_ranges=flow.score_ranges,
        judging=scoring.judging,
    )


def _complete(
    mapping: Mapping[str, str], run: RunFolder, flow: Flow, completed: Sequence[LineResult], rows: Sequence[Row]
) -> dict[str, Any]:
    return complete_evaluation(
        flow,
        {
            "run.outputs": _names(result.outputs or {} for result in completed),
            "data": _names(rows),
            "run.inputs": _names(result.inputs for result in completed),
        },
        where=f"{flow.folder} over run {run.name}",
        mapping=mapping,
        own_history=run.manifest.parameters.history == "own",
    )


def _aggregate(session: FlowSession, scored: Sequence[ScoredLine]) -> tuple[Logged, LineError | None]:
    """Return what the aggregation logged, and why it failed if it did: that costs no line its score."""
    executions = [execution for line in scored for execution in line.executions]
    if not executions or not session.has_aggregation:
        return Logged(), None
    redactor = Redactor(session)
    try:
        values = session.exec_aggregation(
            [execution.inputs for execution in executions], [execution.line for execution in executions]
        )
    except Exception as error:
        return Logged(), redactor.failure(describe_failure(error)).error
    return read_logged(values, redact=redactor.text), None


def _describe_judging(session: FlowSession, scored: Sequence[ScoredLine], repeats: int) -> Judging | None:
    names = dict.fromkeys(name for line in scored for name in line.score.verdicts)
    agreement = {name: measure_agreement([line.score.verdicts.get(name, ()) for line in scored]) for name in names}
    return describe_judging(
        session,
        [execution.line.outputs for line in scored for execution in line.executions],
        repeats=repeats,
        agreement={name: alpha for name, alpha in agreement.items() if alpha is not None},
    )


def _all_scores(results: Sequence[LineResult], scored: Sequence[ScoredLine]) -> list[LineScore]:
    """Return a score for each line of the run, those without an answer too, by line_number."""
    unanswered = [unscored(result, result.error) for result in results if result.status == "Failed"]
    return sorted([*unanswered, *(line.score for line in scored)], key=lambda score: score.line_number)


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
