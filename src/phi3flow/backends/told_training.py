"""What a service told of a fine-tune, kept as training.json, for the report to show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi3flow.project.paths import FINE_TUNES
from phi3flow.storage.files import write_file
from phi3flow.training.config import RECORD_FILE
from phi3flow.training.service_curves import ServiceCurves, service_record


def keep_training(
    project: Path,
    job: str,
    curves: ServiceCurves,
    *,
    backend: str,
    base_model: str,
    parameters: Mapping[str, Any],
    data: Mapping[str, str],
    started_at: datetime | None,
    duration_s: float,
    billed_tokens: int | None = None,
) -> Path | None:
    """Write a job's training.json and return its folder, relative to the ``project``; None where it has no curve."""
    if not curves.steps and not curves.validation:
        return None
    record = service_record(
        curves,
        backend=backend,
        base_model=base_model,
        parameters=parameters,
        data=data,
        started_at=started_at or datetime.now(UTC),
        duration_s=duration_s,
        billed_tokens=billed_tokens,
    )
    write_file(project / FINE_TUNES / job / RECORD_FILE, record.model_dump_json(indent=2).encode() + b"\n")
    return FINE_TUNES / job
