"""Manifests and results of runs, for tests of what writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.runs import Counts, Manifest


def manifest(name: str = "run", **changes: Any) -> Manifest:
    """Return the manifest of a run of three lines that has just begun."""
    values: dict[str, Any] = {
        "name": name,
        "status": "Running",
        "flow": "/flows/f",
        "flow_fingerprint": "f" * 64,
        "data": "/data.jsonl",
        "data_sha256": "d" * 64,
        "column_mapping": {"question": "${data.question}"},
        "concurrency": 1,
        "counts": Counts(total=3),
        "started_at": datetime.now(UTC),
    }
    return Manifest(**{**values, **changes})


def result(number: int, *, completed: bool = True, attempts: int = 1) -> LineResult:
    """Return the result of a line, completed or failed."""
    return LineResult(
        line_number=number,
        line_id=f"id{number}",
        status="Completed" if completed else "Failed",
        inputs={"question": "q"},
        outputs={"answer": "a"} if completed else None,
        error=None if completed else LineError(type="E", message="m"),
        attempts=attempts,
        latency_ms=1.5,
    )
