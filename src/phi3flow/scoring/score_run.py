"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run has no score, and neither has one whose
scoring failed: both are recorded, and left out of the means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from phi3flow.errors import ColumnMappingError, DatasetError
from phi3flow.flows import ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.flows.column_mapping import complete_mapping
from phi3flow.flows.evaluation import requests_per_line
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import Judging, LineScore, RunMetrics
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

_HISTORY = "chat_history"
_ENVIRONMENT = {"PHI3_MAX_RETRIES": "0"}


Row = Mapping[str, Any]


def score_run(
    run: RunFolder,
    *,
    flow: Flow,
    connections: ConnectionSource,
    column_mapping: Mapping[str, str] | None = None,
    limits: Limits = NO_LIMITS,
    repeats: int = 1,
    failed_as_zero: bool = False,
    on_line: Callable[[LineScore], None] = lambda _: None,
) -> RunMetrics:
    """Score ``run`` with the evaluation flow ``flow``; write and return its metrics.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``limits`` bound a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
    ``failed_as_zero`` counts a line that failed as the least score of each metric that applies to all lines and of
    which more is better; BLEU and chrF of the whole run leave it out. Nothing is written unless all lines were scored;
    what was there is replaced.

    Raises DatasetError where the run has no lines or its data changed, ColumnMappingError, FlowError, EndpointError
    where an endpoint stays down.
    """
    results, rows = run.results(), run.data_rows()
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    completed = [result for result in results if result.status == "Completed"]
    scored, logged, judging = list[ScoredLine](), dict[str, float](), None
    if completed:
        mapping = _complete(column_mapping or {}, run, flow, completed, rows)
        lines = [(result, rows[result.line_number]) for result in completed]
        tries = 0 if requests_per_line(flow) else len(lines) * repeats
        with (
            start_helpers(OpenEvaluation(flow, _ENVIRONMENT, mapping), tries) as helpers,
            open_flow(flow, connections=connections, environment=_ENVIRONMENT) as session,
        ):
            scorer = Scorer(session, mapping, limits=limits, repeats=repeats, helpers=helpers, on_line=on_line)
            scored = asyncio.run(scorer.score(lines))
            logged = _aggregate(session, scored)
            judging = _describe_judging(session, scored, repeats)
    scores = [line.score for line in scored] + [_unscored(result) for result in results if result.status == "Failed"]
    scores.sort(key=lambda score: score.line_number)
    if failed_as_zero:
        scores = count_failed(scores, least_scores(scores, flow))
    estimates = estimate_metrics(
        scores,
        logged=logged,
        clusters=cluster_labels(rows),
        lines=run.manifest.lines,
        score_ranges=flow.score_ranges,
    )
    metrics = RunMetrics(
        metrics=estimates,
        lower_is_better=flow.lower_is_better,
        score_ranges=flow.score_ranges,
        failed_as_zero=failed_as_zero,
        judging=judging,
    )
    run.write_scores(flow.name, scores, metrics)
    write_pf_metrics(run)
    return metrics


def _complete(
    mapping: Mapping[str, str],
    run: RunFolder,
    flow: Flow,
    completed: list[LineResult],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    columns = {
        "run.outputs": _names(result.outputs or {} for result in completed),
        "data": _names(rows),
        "run.inputs": _names(result.inputs for result in completed),
    }
    own_history = run.manifest.parameters.history == "own"
    if own_history and _HISTORY in flow.inputs and _HISTORY in columns["run.inputs"]:
        mapping = {_HISTORY: f"${{run.inputs.{_HISTORY}}}", **mapping}  # the model said so, not the data
    inputs = {name: one.has_default for name, one in flow.inputs.items()}
    where = f"{flow.folder} over run {run.name}"
    complete = complete_mapping(mapping, inputs=inputs, columns=columns, where=where)
    if not any(str(value).startswith("${run.outputs.") for value in complete.values()):
        outputs = ", ".join(columns["run.outputs"]) or "none"
        raise ColumnMappingError(
            f"{where}: no input takes an output of the run (they are: {outputs}), so nothing of it would be scored. "
            "Add --column-mapping answer='${run.outputs.OUTPUT}'"
        )
    return complete


def _aggregate(session: FlowSession, scored: list[ScoredLine]) -> dict[str, float]:
    executions = [one for line in scored for one in line.executions]
    if not executions or not session.has_aggregation:
        return {}
    return session.exec_aggregation([one.inputs for one in executions], [one.line for one in executions])


def _describe_judging(session: FlowSession, scored: list[ScoredLine], repeats: int) -> Judging | None:
    names = dict.fromkeys(name for line in scored for name in line.score.verdicts)
    agreement = {name: measure_agreement([line.score.verdicts.get(name, ()) for line in scored]) for name in names}
    return describe_judging(
        session,
        [one.line.outputs for line in scored for one in line.executions],
        repeats=repeats,
        agreement={name: one for name, one in agreement.items() if one is not None},
    )


def _unscored(result: LineResult) -> LineScore:
    return LineScore(line_number=result.line_number, line_id=result.line_id, status="Failed", error=result.error)


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
