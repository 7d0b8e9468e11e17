"""Score a run: an evaluation flow over every line that completed, then an estimate for each metric.

The flow is any promptflow evaluation flow. Its numeric outputs are a line's scores; what its aggregation logs
beyond them are metrics of the whole run. A line that failed in the run has no score, and neither has one whose
scoring failed: both are recorded, and left out of the means.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phi3flow.datasets.chat import LocatedRow, checked, questions, read_jsonl
from phi3flow.datasets.splitting import question_key
from phi3flow.errors import ColumnMappingError, DatasetError, FlowError
from phi3flow.failures import describe_failure
from phi3flow.flows import ConnectionSource, Flow, FlowLine, FlowSession, open_flow
from phi3flow.pf_record import write_pf_metrics
from phi3flow.records import Estimate, LineResult, LineScore, RunMetrics
from phi3flow.run_config import complete_mapping, map_line
from phi3flow.run_store import RunFolder
from phi3flow.stats import CORPUS_METRICS, estimate_corpus, estimate_mean

CLUSTER_COLUMN = "conversation_id"
_COUNTS = "_statistics"

Row = Mapping[str, Any]


def score_run(
    run: RunFolder,
    *,
    flow: Flow,
    connections: ConnectionSource,
    column_mapping: Mapping[str, str] | None = None,
    concurrency: int = 8,
    on_line: Callable[[LineScore], None] = lambda _: None,
) -> RunMetrics:
    """Score ``run`` with the evaluation flow ``flow``; write and return its metrics.

    An input that ``column_mapping`` does not name takes the column of its own name: of the run's outputs, else of
    the data, else of the run's inputs. Lines of one conversation (the data's ``conversation_id``) are one cluster.
    Nothing is written unless all lines were scored; what was there is replaced.

    Raises DatasetError where the run has no lines or its data changed, ColumnMappingError, FlowError.
    """
    results, rows = run.results(), run.data_rows()
    if not results:
        raise DatasetError(f"run {run.name} has no lines to score")
    completed = [result for result in results if result.status == "Completed"]
    scored: list[_ScoredLine] = []
    logged: dict[str, float] = {}
    if completed:
        mapping = _complete(column_mapping or {}, run, flow, completed, rows)
        with open_flow(flow, connections=connections) as session:
            scorer = _Scorer(session, mapping, rows, on_line)
            scored = asyncio.run(scorer.score(completed, concurrency))
            logged = _aggregate(session, scored)
    scores = sorted(
        [line.score for line in scored] + [_unscored(result) for result in results if result.status == "Failed"],
        key=lambda score: score.line_number,
    )
    metrics = RunMetrics(
        metrics=estimate_metrics(scores, logged=logged, clusters=cluster_labels(rows)),
        lower_is_better=flow.lower_is_better,
    )
    run.write_scores(flow.name, scores, metrics)
    write_pf_metrics(run)
    return metrics


def estimate_metrics(
    scores: Iterable[LineScore], *, logged: Mapping[str, float], clusters: list[str]
) -> dict[str, Estimate]:
    """Return an estimate for each metric of the lines, and each logged one that no line has, without interval.

    ``clusters`` holds a label for each line_number. A line without a number for a metric (it does not apply to
    it) counts neither as scored nor as failed.
    """
    lines = list(scores)
    scored = [line for line in lines if line.status == "Completed"]
    n_failed = len(lines) - len(scored)
    estimates: dict[str, Estimate] = {}
    for name in dict.fromkeys(name for line in scored for name in line.scores):
        values, labels = list[float](), list[str]()
        for line in scored:
            value = line.scores.get(name)
            if value is not None:
                values.append(value)
                labels.append(clusters[line.line_number])
        estimates[name] = estimate_mean(values, clusters=labels, n_failed=n_failed)
    for name, value in logged.items():
        if name not in estimates:
            estimates[name] = _estimate_logged(name, value, scored, n_failed, clusters)
    return estimates


def _estimate_logged(name: str, value: float, scored: list[LineScore], n_failed: int, clusters: list[str]) -> Estimate:
    """Return what the aggregation logged, with an interval where it is a corpus metric of the lines' counts."""
    counts = [line.counts.get(name.removeprefix("corpus_"), []) for line in scored]
    if name in CORPUS_METRICS and all(counts):
        labels = [clusters[line.line_number] for line in scored]
        rng = np.random.default_rng(0)
        found = estimate_corpus(counts, CORPUS_METRICS[name], clusters=labels, n_failed=n_failed, rng=rng)
        if found.mean is not None and math.isclose(found.mean, value, rel_tol=1e-9, abs_tol=1e-9):
            return found
    mean = value if math.isfinite(value) else None
    return Estimate(mean=mean, n=len(scored), n_failed=n_failed, method="aggregation")


def cluster_labels(rows: list[dict[str, Any]]) -> list[str]:
    """Return each row's cluster: its conversation, or itself where it names none."""
    labels = (row.get(CLUSTER_COLUMN) for row in rows)
    return [f"line {number}" if label is None else f"conversation {label}" for number, label in enumerate(labels)]


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


@dataclass(frozen=True)
class _ScoredLine:
    """A line's score and, where scoring succeeded, what the aggregation will want of it."""

    score: LineScore
    inputs: dict[str, Any]
    line: FlowLine | None


class _Scorer:
    """Scores lines, a bounded number at once."""

    def __init__(
        self,
        session: FlowSession,
        mapping: Mapping[str, Any],
        rows: list[dict[str, Any]],
        on_line: Callable[[LineScore], None],
    ) -> None:
        self._session = session
        self._mapping = mapping
        self._rows = rows
        self._on_line = on_line
        self._defaults = {name: one.default for name, one in session.flow.inputs.items() if one.has_default}

    async def score(self, results: list[LineResult], concurrency: int) -> list[_ScoredLine]:
        remaining = iter(results)
        scored: list[_ScoredLine] = []

        async def work() -> None:
            for result in remaining:
                line = await self._score_line(result)
                scored.append(line)
                self._on_line(line.score)

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return sorted(scored, key=lambda line: line.score.line_number)

    async def _score_line(self, result: LineResult) -> _ScoredLine:
        inputs: dict[str, Any] = {}
        try:
            inputs = self._inputs(result)
            line = await self._session.exec_line(inputs, line_number=result.line_number)
            scores = read_scores(line.outputs)
        except Exception as error:
            score = LineScore(
                line_number=result.line_number,
                line_id=result.line_id,
                status="Failed",
                error=describe_failure(error).error,
            )
            return _ScoredLine(score, inputs, None)
        score = LineScore(
            line_number=result.line_number,
            line_id=result.line_id,
            status="Completed",
            scores=scores,
            counts=read_counts(line.aggregation_inputs),
        )
        return _ScoredLine(score, inputs, line)

    def _inputs(self, result: LineResult) -> dict[str, Any]:
        sources = {
            "run.outputs": result.outputs or {},
            "data": self._rows[result.line_number],
            "run.inputs": result.inputs,
        }
        mapped = map_line(self._mapping, sources, optional=self._defaults)
        inputs = {**self._defaults, **{name: value for name, value in mapped.items() if value is not None}}
        for name in mapped.keys() - inputs.keys():
            # promptflow would turn the null into the text "None", and score it
            raise ColumnMappingError(f"{name} is null in this line ({self._mapping[name]})")
        return inputs


def read_scores(outputs: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the outputs that are scores: numbers, truth values, and nulls; texts and others are left out.

    Raises FlowError for NaN and infinity, which are neither a score nor the absence of one.
    """
    scores: dict[str, float | None] = {}
    for name, value in outputs.items():
        if value is None:
            scores[name] = None
        elif isinstance(value, int | float):
            if not math.isfinite(value):
                raise FlowError(f"the evaluation flow's output {name} is {value}")
            scores[name] = float(value)
    return scores


def read_counts(aggregation_inputs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the lists of numbers among what the aggregation will want, by their names without ``_statistics``."""
    values = [value for value in aggregation_inputs.values() if isinstance(value, dict)]
    return {
        name.removesuffix(_COUNTS): [float(count) for count in counts]
        for value in values
        for name, counts in value.items()
        if name.endswith(_COUNTS) and isinstance(counts, list) and all(isinstance(one, int | float) for one in counts)
    }


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


def _aggregate(session: FlowSession, scored: list[_ScoredLine]) -> dict[str, float]:
    lines = [(one.inputs, one.line) for one in scored if one.line is not None]
    if not lines or not session.has_aggregation:
        return {}
    return session.exec_aggregation([inputs for inputs, _ in lines], [line for _, line in lines])


def _unscored(result: LineResult) -> LineScore:
    return LineScore(line_number=result.line_number, line_id=result.line_id, status="Failed", error=result.error)


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
