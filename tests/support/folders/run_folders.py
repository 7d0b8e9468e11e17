"""Run folders on disk, for tests of what reads them: made of given results and scores, in the documented format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi3flow.flows import Flow
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError, LineResult, Usage
from phi3flow.records.runs import Counts, Manifest
from phi3flow.records.scores import Judging, LineScore, Ruler, RunMetrics
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import estimate_mean
from phi3flow.storage.jsonl import file_sha256

Scores = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Evaluation flow -> metric -> one score a result, in the results' order; None where the line has none."""


def line(
    number: int,
    answer: str | None,
    *,
    question: str = "Who founded Microsoft?",
    error: str = "the endpoint answered 503",
    line_id: str | None = None,
    chat_history: Sequence[Mapping[str, Any]] = (),
    latency_ms: float = 120.0,
    usage: tuple[int, int] | None = None,
    attempts: int = 1,
) -> LineResult:
    """Return one result: Completed with ``answer``, or Failed with ``error`` where the answer is None."""
    failure = LineError(type="EndpointError", message=error, status_code=503)
    return LineResult(
        line_number=number,
        line_id=line_id or hashlib.sha256(str(number).encode()).hexdigest(),
        status="Failed" if answer is None else "Completed",
        inputs={"question": question, "chat_history": list(chat_history)},
        outputs=None if answer is None else {"answer": answer},
        error=failure if answer is None else None,
        attempts=attempts,
        latency_ms=latency_ms,
        usage=Usage(prompt_tokens=usage[0], completion_tokens=usage[1]) if usage else None,
    )


def write_run(
    folder: Path,
    results: Sequence[LineResult],
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
    scores: Scores | None = None,
    **manifest: Any,
) -> RunFolder:
    """Write a run of ``results`` and return it; ``rows`` are the data file's, ``manifest`` replaces its fields."""
    folder.mkdir(parents=True)
    data = folder.parent / f"{folder.name}.data.jsonl"
    rows = rows if rows is not None else [{"ground_truth": "Bill Gates", "values": []} for _ in results]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "manifest.json").write_text(_manifest(folder.name, results, data, manifest).model_dump_json())
    (folder / "results.jsonl").write_text("".join(result.model_dump_json() + "\n" for result in results))
    run = RunFolder(folder)
    for evaluation, metrics in (scores or {}).items():
        run.write_scores(evaluation, _line_scores(results, metrics), _run_metrics(results, evaluation, metrics))
    return run


def measured_by(
    run: RunFolder, evaluation: Flow, mapping: Mapping[str, str], *, connections: Sequence[str] = ()
) -> RunFolder:
    """Note that the run's scores by this flow were measured with this mapping, over these connections."""
    judging = Judging(connections=[ConnectionUse(name=name) for name in connections]) if connections else None
    ruler = Ruler(flow=str(evaluation.folder), flow_fingerprint=evaluation.fingerprint, column_mapping=dict(mapping))
    changes = {
        "evaluation": ruler,
        "judging": judging,
        "score_ranges": evaluation.score_ranges,
        "lower_is_better": evaluation.lower_is_better,
    }
    metrics = run.metrics(evaluation.name).model_copy(update=changes)
    run.write_scores(evaluation.name, run.scores(evaluation.name), metrics)
    return run


def scored_run(folder: Path, scores: Sequence[float | None], *, metric: str = "f1", **changes: Any) -> RunFolder:
    """Write a run with one line a score, and return it; ``changes`` are ``write_run``'s."""
    results = [line(number, f"answer {number}") for number in range(len(scores))]
    return write_run(folder, results, scores={"answer_match": {metric: scores}}, **changes)


def run_of_kinds(folder: Path, scores: Sequence[float | None]) -> RunFolder:
    """Write a run with one line a score, of the kinds a and b in turn, and return it."""
    return scored_run(folder, scores, rows=[{"kind": "ab"[number % 2]} for number in range(len(scores))])


def _manifest(name: str, results: Sequence[LineResult], data: Path, changes: Mapping[str, Any]) -> Manifest:
    failed = sum(result.status == "Failed" for result in results)
    retries = sum(result.attempts - 1 for result in results)
    fields = {
        "name": name,
        "status": "Completed",
        "flow": "flows/chat_phi3",
        "flow_fingerprint": "f" * 64,
        "data": str(data),
        "data_sha256": file_sha256(data),
        "column_mapping": {"question": "${data.question}"},
        "concurrency": 8,
        "counts": Counts(total=len(results), completed=len(results) - failed, failed=failed, retries=retries),
        "started_at": datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        "ended_at": datetime(2026, 3, 2, 9, 31, tzinfo=UTC),
        "duration_s": 60.0,
    }
    return Manifest.model_validate(fields | changes)


def ruler(evaluation: str, fingerprint: str = "e" * 64) -> Ruler:
    """Return what measured a run: flows/eval/EVALUATION as it was by that fingerprint, over ``answer``."""
    return Ruler(
        flow=f"flows/eval/{evaluation}",
        flow_fingerprint=fingerprint,
        column_mapping={"answer": "${run.outputs.answer}", "ground_truth": "${data.ground_truth}"},
        run_outputs=["answer"],
    )


def _line_scores(results: Sequence[LineResult], metrics: Mapping[str, Sequence[float | None]]) -> list[LineScore]:
    """Return each line's scores; a line that failed counts as 0 in each metric that has a score for it."""
    return [
        LineScore(
            line_number=result.line_number,
            line_id=result.line_id,
            status=result.status,
            answered=result.outputs is not None,
            scores={name: column[place] for name, column in metrics.items()} if result.outputs else {},
            counted_as={} if result.outputs else {n: 0.0 for n, column in metrics.items() if column[place] is not None},
            error=result.error,
        )
        for place, result in enumerate(results)
    ]


def _run_metrics(
    results: Sequence[LineResult], evaluation: str, metrics: Mapping[str, Sequence[float | None]]
) -> RunMetrics:
    estimates = {}
    for name, column in metrics.items():
        applies = [(result, score) for score, result in zip(column, results, strict=True) if score is not None]
        scores = [score if result.outputs else 0.0 for result, score in applies]
        estimates[name] = estimate_mean(scores, n_failed=sum(not result.outputs for result, _ in applies))
    return RunMetrics(metrics=estimates, evaluation=ruler(evaluation))
