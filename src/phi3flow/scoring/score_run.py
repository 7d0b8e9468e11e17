"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run counts as the worst score of each metric that
applies to it (``failed_lines``); one whose scoring failed is recorded, and in no mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.flows.evaluation import AnsweredLine, requests_per_line, unscored
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.scores import Estimate, FailedLines, Judging, LineScore, RunMetrics, ScoreRange
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.scoring.estimates import estimate_metrics, metric_names
from phi3flow.scoring.evidence import collect_evidence
from phi3flow.scoring.execution import OpenEvaluation
from phi3flow.scoring.failed_lines import count_failed
from phi3flow.scoring.judging import describe_judging
from phi3flow.scoring.processes import start_helpers
from phi3flow.scoring.ruler import complete_columns, describe_ruler, output_names
from phi3flow.scoring.scorer import ScoredLine, Scorer
from phi3flow.stats import known_range
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

    The scores are those of ``run.evaluation_of(flow)``.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``limits`` bound a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
    ``failed_lines`` says how a line that failed in the run is read; no endpoint is asked for one. Nothing is written
    unless all lines were scored; what was there is replaced.

    Raises DatasetError where the run has no lines or its data changed, ColumnMappingError, FlowError, EndpointError
    where an endpoint stays down.
    """
    results, rows = run.results(), run.data_rows()
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    outputs = output_names(run, results, flow, column_mapping or {})
    mapping = complete_columns(column_mapping or {}, run=run, flow=flow, outputs=outputs, results=results, rows=rows)
    lines = [AnsweredLine(result, rows[result.line_number]) for result in results]
    scoring = _score_lines(lines, flow, connections, mapping, limits, repeats, on_line)
    metrics = _measure(run, flow, scoring, rows, failed_lines)
    ruler = describe_ruler(flow, mapping, outputs, scoring.judging)
    run.write_scores(
        run.evaluation_of(flow), scoring.scores, metrics.model_copy(update={"evaluation": ruler, "repeats": repeats})
    )
    write_pf_metrics(run)
    return run.metrics(run.evaluation_of(flow))


@dataclass(frozen=True)
class _Scoring:
    """What an evaluation flow made of a run's lines, the metrics' ranges, what was logged, and who judged."""

    scores: Sequence[LineScore]
    ranges: Mapping[str, ScoreRange | None]
    logged: Mapping[str, float]
    judging: Judging | None


def _score_lines(
    lines: Sequence[AnsweredLine],
    flow: Flow,
    connections: ConnectionSource,
    mapping: dict[str, Any],
    limits: Limits,
    repeats: int,
    on_line: Callable[[LineScore], None],
) -> _Scoring:
    answered = [line for line in lines if line.result.status == "Completed"]
    helped = 0 if requests_per_line(flow) else len(answered) * repeats
    with (
        start_helpers(OpenEvaluation(flow, dict(SINGLE_ATTEMPTS), mapping), helped) as helpers,
        open_flow(flow, connections=connections, environment=SINGLE_ATTEMPTS) as session,
    ):
        scorer = Scorer(session, mapping, limits=limits, repeats=repeats, helpers=helpers, on_line=on_line)
        scored = asyncio.run(scorer.score(answered))
        logged, judging = _aggregate(session, scored), _describe_judging(session, scored, repeats)
        scores = _all_scores(lines, scored)
        evidence = collect_evidence(session, mapping, lines=lines, scores=scores, limits=limits, helpers=helpers)
    ranges = _ranges([*scores, *evidence.empty.values()], flow)
    counted = count_failed(scores, evidence, ranges=ranges, lower_is_better=flow.lower_is_better)
    return _Scoring(counted, ranges, logged, judging)


def _measure(
    run: RunFolder, flow: Flow, scoring: _Scoring, rows: Sequence[Row], failed_lines: FailedLines
) -> RunMetrics:
    estimate = partial(
        estimate_metrics,
        scoring.scores,
        logged=scoring.logged,
        clusters=cluster_labels(rows),
        lines=run.manifest.lines,
        ranges=scoring.ranges,
    )
    answered_only = estimate(failed_lines="left out")
    metrics = answered_only
    if failed_lines == "least" and not all(score.answered for score in scoring.scores):
        metrics = estimate(failed_lines="least")
    return RunMetrics(
        metrics=metrics,
        answered_only={name: other for name, other in answered_only.items() if _differ(metrics[name], other)},
        failed_lines=failed_lines,
        lower_is_better=flow.lower_is_better,
        score_ranges=flow.score_ranges,
        judging=scoring.judging,
    )


def _ranges(scores: Sequence[LineScore], flow: Flow) -> dict[str, ScoreRange | None]:
    values: dict[str, list[float]] = {name: [] for name in metric_names(scores)}
    for score in scores:
        for name, value in score.scores.items():
            if value is not None:
                values[name].append(value)
    return {name: known_range(name, flow.score_ranges, [column]) for name, column in values.items()}


def _differ(least: Estimate, answered_only: Estimate) -> bool:
    fields = {"mean", "low", "high", "n"}
    return least.model_dump(include=fields) != answered_only.model_dump(include=fields)


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


def _all_scores(lines: Sequence[AnsweredLine], scored: Sequence[ScoredLine]) -> list[LineScore]:
    """Return a score for each line of the run, those without an answer too, by line_number."""
    failed = [unscored(line.result, line.result.error) for line in lines if line.result.status == "Failed"]
    return sorted([*failed, *(line.score for line in scored)], key=lambda score: score.line_number)
