"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run has no score, and neither has one whose
scoring failed: both are recorded, and left out of the means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.flows.evaluation import (
    AnsweredLine,
    complete_evaluation,
    requests_per_line,
    unscored,
)
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import FailedLines, Judging, LineScore, RunMetrics
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.runs.repeats import count_failed
from phi3flow.scoring.estimates import estimate_metrics, least_scores
from phi3flow.scoring.execution import OpenEvaluation
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
    on_line: Callable[[LineScore], None] = lambda _: None,
) -> RunMetrics:
    """Score ``run`` with the evaluation flow ``flow``; write and return its metrics.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``limits`` bound a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
    ``failed_lines`` says how a line that failed in the run is read. Nothing is written unless all lines were scored;
    what was there is replaced.

    Raises DatasetError where the run has no lines or its data changed, ColumnMappingError, FlowError, EndpointError
    where an endpoint stays down.
    """
    results, rows, scoring = run.results(), run.data_rows(), _Scoring()
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    answered = [AnsweredLine(result, rows[result.line_number]) for result in results if result.status == "Completed"]
    if answered:
        mapping = _complete(column_mapping or {}, run, flow, [line.result for line in answered], rows)
        scoring = _score_lines(answered, flow, connections, mapping, limits, repeats, on_line)
    scores = _all_scores(results, scoring.lines)
    scores = count_failed(scores, least_scores(scores, flow)) if failed_lines == "least" else scores
    metrics = _measure(run, flow, scores, scoring, rows).model_copy(update={"failed_lines": failed_lines})
    run.write_scores(flow.name, scores, metrics)
    write_pf_metrics(run)
    return metrics


@dataclass(frozen=True)
class _Scoring:
    """What an evaluation flow made of the lines: their scores, what its aggregation logged, and who judged."""

    lines: Sequence[ScoredLine] = ()
    logged: Mapping[str, float] = field(default_factory=dict)
    judging: Judging | None = None


def _score_lines(
    lines: Sequence[AnsweredLine],
    flow: Flow,
    connections: ConnectionSource,
    mapping: dict[str, Any],
    limits: Limits,
    repeats: int,
    on_line: Callable[[LineScore], None],
) -> _Scoring:
    helped = 0 if requests_per_line(flow) else len(lines) * repeats
    with (
        start_helpers(OpenEvaluation(flow, dict(SINGLE_ATTEMPTS), mapping), helped) as helpers,
        open_flow(flow, connections=connections, environment=SINGLE_ATTEMPTS) as session,
    ):
        scorer = Scorer(session, mapping, limits=limits, repeats=repeats, helpers=helpers, on_line=on_line)
        scored = asyncio.run(scorer.score(lines))
        return _Scoring(scored, _aggregate(session, scored), _describe_judging(session, scored, repeats))


def _measure(
    run: RunFolder, flow: Flow, scores: Sequence[LineScore], scoring: _Scoring, rows: Sequence[Row]
) -> RunMetrics:
    return RunMetrics(
        metrics=estimate_metrics(
            scores,
            logged=scoring.logged,
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


def _aggregate(session: FlowSession, scored: Sequence[ScoredLine]) -> dict[str, float]:
    executions = [execution for line in scored for execution in line.executions]
    if not executions or not session.has_aggregation:
        return {}
    return session.exec_aggregation(
        [execution.inputs for execution in executions], [execution.line for execution in executions]
    )


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
