"""Batch runs in MLflow: parameters, metrics with their intervals, every line's scores, and the report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from phi3flow.runs.folder import RunFolder
from phi3flow.tracking.store import LONGEST_PARAMETER, experiment, find_run, store

_TABLE = "lines.json"
_STATUSES = {"Running": "RUNNING", "Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}
_BOUNDS = {"mean": "", "low": ".low", "high": ".high", "se": ".se", "n": ".n", "n_failed": ".n_failed"}


def track_run(run: RunFolder, *, report: Path) -> str:
    """Log a run to MLflow and return its id there. The same run again is logged in the same place.

    A metric is logged by its full name, its bounds beside it: answer_match.f1, answer_match.f1.low. Raises BackendError
    where the store cannot be reached, MissingExtraError where MLflow is not installed.
    """
    from mlflow.entities import Metric, Param, RunTag

    with store() as mlflow:
        client = mlflow.MlflowClient()
        manifest = run.manifest
        identity = f"{run.name} {manifest.started_at.isoformat()}"
        run_id = (
            find_run(client, "tags.`phi3flow.run`", identity)
            or client.create_run(experiment(client), run_name=run.name).info.run_id
        )
        parameters = [Param(name, value[:LONGEST_PARAMETER]) for name, value in _parameters(run).items()]
        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, 0) for name, value in _metrics(run).items()]
        tags = [
            RunTag("phi3flow.run", identity),
            RunTag("phi3flow.flow_fingerprint", manifest.flow_fingerprint),
            RunTag("mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}])),  # its UI shows it
        ]
        client.log_batch(run_id, metrics=metrics, params=parameters, tags=tags)
        client.log_dict(run_id, _table(run), _TABLE)
        client.log_artifact(run_id, str(run.path / "manifest.json"))
        client.log_artifact(run_id, str(report))
        client.set_terminated(run_id, status=_STATUSES[manifest.status])
    return str(run_id)


def _parameters(run: RunFolder) -> dict[str, str]:
    """Return what the run was made with; nothing that changes when the same run goes on."""
    manifest = run.manifest
    named = {name: getattr(manifest, name) for name in ("flow", "variant", "data", "data_sha256", "git_commit")}
    mapping = {f"column_mapping.{name}": value for name, value in manifest.column_mapping.items()}
    hosts = {f"connection.{name}": use.host for name, use in manifest.connections.items()}
    parameters = {**named, **mapping, **hosts}
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _metrics(run: RunFolder) -> dict[str, float]:
    manifest = run.manifest
    metrics: dict[str, float | None] = {f"lines.{name}": count for name, count in manifest.counts.model_dump().items()}
    metrics["duration_s"] = manifest.duration_s
    for evaluation in run.evaluations():
        for name, estimate in run.metrics(evaluation).metrics.items():
            for field, ending in _BOUNDS.items():
                metrics[f"{evaluation}.{name}{ending}"] = getattr(estimate, field)
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _table(run: RunFolder) -> dict[str, list[Any]]:
    """Return the lines as MLflow writes a table: what went in and out, and every score."""
    results = run.results()
    columns: dict[str, list[Any]] = {
        "line_number": [line.line_number for line in results],
        "line_id": [line.line_id for line in results],
        "status": [line.status for line in results],
        "inputs": [line.inputs for line in results],
        "outputs": [line.outputs for line in results],
        "error": [line.error.message if line.error else None for line in results],
        "latency_ms": [line.latency_ms for line in results],
    }
    for evaluation in run.evaluations():
        scores = {score.line_number: score.scores for score in run.scores(evaluation)}
        for name in dict.fromkeys(name for of_line in scores.values() for name in of_line):
            columns[f"{evaluation}.{name}"] = [scores.get(line.line_number, {}).get(name) for line in results]
    return {"columns": list(columns), "data": [list(row) for row in zip(*columns.values(), strict=True)]}
