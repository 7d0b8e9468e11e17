"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run has no score, and neither has one whose
scoring failed: both are recorded, and left out of the means.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phi3flow.datasets.chat import LocatedRow, checked, questions, read_jsonl
from phi3flow.datasets.splitting import question_key
from phi3flow.errors import ColumnMappingError, DatasetError
from phi3flow.flows import ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.line_scores import average_repeats, cluster_labels, count_failed, repeat_variances
from phi3flow.pf_record import write_pf_metrics
from phi3flow.records import Estimate, Judging, LineResult, LineScore, RunMetrics, ScoreRange
from phi3flow.run_config import complete_mapping
from phi3flow.run_store import RunFolder
from phi3flow.runner.options import RunOptions
from phi3flow.scoring.execution import OpenEvaluation
from phi3flow.scoring.helpers import start_helpers
from phi3flow.scoring.judging import describe_judging
from phi3flow.scoring.scorer import ScoredLine, Scorer, requests_per_line
from phi3flow.stats import CORPUS_METRICS, UNIT, estimate_corpora, estimate_mean
from phi3flow.stats.agreement import measure_agreement

_HISTORY = "chat_history"
_DEFAULT_OPTIONS = RunOptions()
_ENVIRONMENT = {"PHI3_MAX_RETRIES": "0"}

Row = Mapping[str, Any]


def score_run(
    run: RunFolder,
    *,
    flow: Flow,
    connections: ConnectionSource,
    column_mapping: Mapping[str, str] | None = None,
    options: RunOptions = _DEFAULT_OPTIONS,
    repeats: int = 1,
    failed_as_zero: bool = False,
    on_line: Callable[[LineScore], None] = lambda _: None,
) -> RunMetrics:
    """Score ``run`` with the evaluation flow ``flow``; write and return its metrics.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    ``options`` bounds a flow that asks an endpoint; each line is scored ``repeats`` times, and has the mean.
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
            scorer = Scorer(session, mapping, options=options, repeats=repeats, helpers=helpers, on_line=on_line)
            scored = asyncio.run(scorer.score(lines))
            logged = _aggregate(session, scored)
            judging = _describe_judging(session, scored, repeats)
    scores = [line.score for line in scored] + [_unscored(result) for result in results if result.status == "Failed"]
    scores.sort(key=lambda score: score.line_number)
    if failed_as_zero:
        scores = count_failed(scores, _least_scores(scores, flow))
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


def estimate_metrics(
    scores: Sequence[LineScore],
    *,
    logged: Mapping[str, float],
    clusters: list[str],
    lines: int,
    score_ranges: Mapping[str, ScoreRange],
) -> dict[str, Estimate]:
    """Return an estimate for each metric of the lines, and each logged one that no line has, without interval.

    ``clusters`` holds a label for each line_number; ``lines`` is ``Manifest.lines``: what ran repeatedly is averaged
    within a line first. A line without a number for a metric counts as failed where its
    ``failures`` say why, else neither as scored nor as failed (the metric does not apply to it).
    """
    averaged = average_repeats(scores, lines)
    scored = [line for line in averaged if line.status == "Completed"]
    n_failed = len(averaged) - len(scored)
    estimates: dict[str, Estimate] = {}
    for name in dict.fromkeys(name for line in scored for name in line.scores):
        values, labels = list[float](), list[str]()
        for line in averaged:
            value = line.value(name)
            if value is not None:
                values.append(value)
                labels.append(clusters[line.line_number])
        without = sum(name in line.failures and line.scores.get(name) is None for line in scored)
        found = estimate_mean(
            values, clusters=labels, n_failed=n_failed + without, score_range=score_ranges.get(name, UNIT)
        )
        estimates[name] = found.model_copy(update={"repeats": repeat_variances(scores, lines, name)})
    corpora = _estimate_corpora(logged, scored, n_failed, clusters)
    for name, value in logged.items():
        if name not in estimates:
            corpus, logged_one = corpora.get(name), _logged(value, len(scored), n_failed)
            estimates[name] = corpus if corpus and _is_close(corpus.mean, value) else logged_one
    return estimates


def _least_scores(scores: Sequence[LineScore], flow: Flow) -> dict[str, float]:
    names = dict.fromkeys(name for score in scores for name in score.scores)
    return {name: flow.score_ranges.get(name, UNIT)[0] for name in names if name not in flow.lower_is_better}


def _estimate_corpora(
    logged: Iterable[str], scored: list[LineScore], n_failed: int, clusters: list[str]
) -> dict[str, Estimate]:
    """Return the corpus metrics among ``logged`` whose counts every line has, with intervals."""
    wanted = [name for name in logged if name in CORPUS_METRICS]
    counts = {name: [line.counts.get(name.removeprefix("corpus_"), []) for line in scored] for name in wanted}
    names = [name for name, each in counts.items() if each and all(each)]
    if not names:
        return {}
    corpora = [(counts[name], CORPUS_METRICS[name]) for name in names]
    labels, rng = [clusters[line.line_number] for line in scored], np.random.default_rng(0)
    return dict(zip(names, estimate_corpora(corpora, clusters=labels, n_failed=n_failed, rng=rng), strict=True))


def _is_close(mean: float | None, value: float) -> bool:
    return mean is not None and math.isclose(mean, value, rel_tol=1e-9, abs_tol=1e-9)


def _logged(value: float, n: int, n_failed: int) -> Estimate:
    return Estimate(mean=value if math.isfinite(value) else None, n=n, n_failed=n_failed, method="aggregation")


def leaked_lines(run: RunFolder) -> list[int]:
    """Return the lines whose conversation begins with a question of train.jsonl or validation.jsonl, by number.

    The files are looked for beside the run's data; what is no chat in them is passed over (check-data reports it).
    """
    known = set[str]()
    for name in ("train.jsonl", "validation.jsonl"):
        path = Path(run.manifest.data).parent / name
        for found in checked(read_jsonl(path)) if path.is_file() else ():
            if isinstance(found, LocatedRow):
                known.update(map(question_key, questions(found.row)))
    if not known:
        return []
    return [number for number, row in enumerate(run.data_rows()) if question_key(_first_question(row)) in known]


def _first_question(row: Row) -> str:
    match row:
        case {"chat_history": [{"inputs": {"question": str(first)}}, *_]} | {"question": str(first)}:
            return first
    return ""


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
    own_history = run.manifest.parameters.get("history") == "own"
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
