"""The promptflow side of a run folder: what ``pf run create --source`` and the VS Code extension read.

Derived from results.jsonl when a run ends, in line order, without holding the lines in memory. The fields are those
that promptflow 1.18 writes itself (promptflow._sdk.operations._local_storage_operations).
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from phi3flow.errors import StorageError
from phi3flow.flows import DAG_FILE, Flow, flow_files, ignored_files
from phi3flow.flows.includes import INCLUDES, copy_includes
from phi3flow.records.images import OUTPUT_FOLDER, with_paths
from phi3flow.records.lines import LOG_FILE, LineResult
from phi3flow.records.runs import Manifest
from phi3flow.records.yaml_text import change_yaml
from phi3flow.runs.folder import RunFolder, dump_line
from phi3flow.storage.files import write_file

_ABSENT = -1


def write_pf_record(run: RunFolder, flow: Flow | None) -> None:
    """Write or replace the promptflow files in ``run``'s folder. ``pf`` shows failed lines as ``(Failed)``.

    Of a run that no ``flow`` gave, with what ``pf`` asks of a snapshot: inputs and outputs. Raises StorageError where
    the disk refuses; the run itself is whole then, and the same command writes them again.
    """
    try:
        _write_record(run, flow)
    except OSError as error:
        raise StorageError(
            f"{run.path}: the files for pf cannot be written: {error.strerror}; the results are kept: make room and "
            "give the same command again"
        ) from error


def _write_record(run: RunFolder, flow: Flow | None) -> None:
    manifest = run.manifest
    _write_metadata(run.path, manifest)
    if flow:
        write_snapshot(run.path / "snapshot", flow)
    for folder in ("flow_outputs", "flow_artifacts", "node_artifacts"):
        (run.path / folder).mkdir(exist_ok=True)
    last = max(manifest.counts.total - 1, 0)
    for stale in (run.path / "flow_artifacts").iterdir():
        stale.unlink()
    with (
        (run.path / "results.jsonl").open("rb") as results,
        (run.path / "inputs.jsonl").open("wb") as inputs,
        (run.path / "outputs.jsonl").open("wb") as outputs,
        (run.path / "flow_artifacts" / f"{0:09d}_{last:09d}.jsonl").open("wb") as artifacts,
    ):
        for result in _last_results(results):
            number = {"line_number": result.line_number}
            _append(inputs, {**number, **result.inputs})
            if result.outputs is not None:
                _append(outputs, {**number, **result.outputs})
            _append(artifacts, _line_record(result, manifest))
    _write_flow_outputs(run.path)
    if not (run.path / "metrics.json").exists():
        (run.path / "metrics.json").write_text("{}", encoding="utf-8")


def _write_flow_outputs(folder: Path) -> None:
    """Write the outputs once more, where ``pf`` reads them: with the images beside them."""
    beside = f"{OUTPUT_FOLDER}/"
    with (folder / "outputs.jsonl").open("rb") as outputs, (folder / beside / "output.jsonl").open("wb") as file:
        for line in outputs:
            if beside.encode() in line:
                line = dump_line(with_paths(json.loads(line), lambda path: path.removeprefix(beside))) + b"\n"
            file.write(line)


def write_pf_metrics(run: RunFolder) -> None:
    """Bring every estimate's mean, and each text that was logged, into the run's ``metrics.json``, where ``pf`` looks.

    They go by full name. What the run's own aggregation logged stays; a metric without a mean is left out.
    """
    file = run.path / "metrics.json"
    metrics = run.logged_metrics()
    for evaluation in run.evaluations():
        scored = run.metrics(evaluation)
        means = {name: estimate.mean for name, estimate in scored.metrics.items() if estimate.mean is not None}
        metrics |= {f"{evaluation}.{name}": value for name, value in {**means, **scored.texts}.items()}
    write_file(file, json.dumps(metrics, indent=2).encode())


def _write_metadata(folder: Path, manifest: Manifest) -> None:
    ended_at = manifest.ended_at or datetime.now(UTC)
    metadata = {
        "name": manifest.name,
        "display_name": manifest.name,
        "status": manifest.status,
        "created_on": manifest.started_at.isoformat(),
        "start_time": manifest.started_at.isoformat(),
        "end_time": ended_at.isoformat(),
        "tags": {},
    }
    write_file(folder / "run_metadata.json", json.dumps(metadata, indent=2).encode())
    counts = manifest.counts
    log = (
        f"{ended_at:%Y-%m-%d %H:%M:%S %z} phi3flow INFO {manifest.status}: {counts.completed} of {counts.total} lines "
        f"completed, {counts.failed} failed, {counts.retries} retries, {manifest.duration_s} s\n"
    )
    with (folder / LOG_FILE).open("a", encoding="utf-8") as file:
        file.write(log)


def write_snapshot(folder: Path, flow: Flow) -> None:
    """Copy the flow, with what it includes and the chosen variant and connections in place, as ``pf`` does.

    As there, what git ignores is left out: secrets may be in.
    """
    shutil.rmtree(folder, ignore_errors=True)
    ignored = ignored_files(flow.folder)
    for name in flow_files(flow.folder):
        if name in ignored:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(flow.folder / name, folder / name)
    copy_includes(flow.includes, folder, with_secrets=False)
    text = change_yaml(flow.text, lambda dag: dag.pop(INCLUDES)) if flow.includes else flow.text
    (folder / DAG_FILE).write_bytes(text.encode())


def _last_results(file: BinaryIO) -> Iterator[LineResult]:
    """Yield each line's last result in line order; only offsets are kept, eight bytes a line."""
    offsets = array("q")
    position = 0
    for line in file:
        number = json.loads(line)["line_number"]
        offsets.extend([_ABSENT] * (number + 1 - len(offsets)))
        offsets[number] = position
        position += len(line)
    for offset in offsets:
        if offset != _ABSENT:
            file.seek(offset)
            yield LineResult.model_validate_json(file.readline())


def _line_record(result: LineResult, manifest: Manifest) -> dict[str, Any]:
    """Return a line of ``flow_artifacts``."""
    run_info = _run_info(result, manifest)
    return {
        "line_number": result.line_number,
        "run_info": run_info,
        "start_time": run_info["start_time"],
        "end_time": run_info["end_time"],
        "name": "",
        "description": "",
        "status": result.status,
        "tags": None,
    }


def _run_info(result: LineResult, manifest: Manifest) -> dict[str, Any]:
    metrics = _system_metrics(result)
    end = manifest.ended_at or manifest.started_at
    start = end - timedelta(seconds=metrics["duration"])
    return {
        "run_id": f"{manifest.name}_{result.line_number}",
        "status": result.status,
        "error": {"code": result.error.type, "message": result.error.message} if result.error else None,
        "inputs": {"line_number": result.line_number, **result.inputs},
        "output": result.outputs,
        "metrics": None,
        "request": None,
        "parent_run_id": manifest.name,
        "root_run_id": manifest.name,
        "source_run_id": None,
        "flow_id": "default_flow_id",
        "start_time": start.isoformat(),
        "end_time": end.isoformat(),
        "index": result.line_number,
        "api_calls": [],
        "name": "",
        "description": "",
        "tags": None,
        "system_metrics": metrics,
        "result": None,
        "upload_metrics": False,
        "otel_trace_id": None,
        "message_format": "basic",
    }


def _system_metrics(result: LineResult) -> dict[str, float]:
    usage = result.usage
    prompt, completion = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return {
        "duration": (result.latency_ms or 0.0) / 1000,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _append(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(dump_line(record) + b"\n")
