"""Runs that ``pf`` made: found in promptflow's own list, and given our manifest and results beside its files.

They are derived once, when the run has ended, for promptflow keeps neither a line_id nor a hash of its data: from
then on the folder is a run folder like any other, and its data is known to be the data that it answered.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, Json, ValidationError

from phi3flow.errors import ConfigError, DatasetError, FlowError
from phi3flow.flows import FlowInput, fingerprint, load_flow
from phi3flow.flows.left_inputs import is_asked
from phi3flow.project.paths import RUNS
from phi3flow.project.promptflow_home import promptflow_home
from phi3flow.records.lines import LineError, LineResult, Usage
from phi3flow.records.runs import Counts, Manifest, RunParameters, RunStatus
from phi3flow.records.validation import first_problem
from phi3flow.runs.folder import RunFolder, find_run
from phi3flow.storage.data_files import read_data, unchanged_data
from phi3flow.storage.files import write_files
from phi3flow.storage.jsonl import Row, read_lines, with_line_ids
from phi3flow.text import shorten

_ENDED: dict[str, RunStatus] = {"Completed": "Completed", "Failed": "Failed", "Canceled": "Canceled"}
_DATA_COLUMN = re.compile(r"\$\{data\.(.+)\}")
_READ_AS_DATE = re.compile(r"date|datetime|modified|timestamp.*|.*_(at|time)", re.IGNORECASE)


class _Properties(BaseModel):
    """What promptflow notes about a run that it made itself; an imported one has its ``output_path`` only."""

    output_path: Path
    flow_path: str = ""
    node_variant: str | None = None
    column_mapping: dict[str, Any] = Field(default_factory=dict)


class _ListedRun(BaseModel):
    """A run as promptflow's store lists it."""

    name: str
    status: str
    created_on: datetime
    start_time: datetime | None
    end_time: datetime | None
    data: Path | None
    properties: Json[_Properties]

    @property
    def folder(self) -> Path:
        return self.properties.output_path.resolve()


class _SystemMetrics(BaseModel):
    """A line's tokens: 0 where promptflow counted none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class LineRun(BaseModel):
    """What promptflow keeps of a line that has ended; of one whose process died it has no metrics."""

    status: Literal["Completed", "Failed", "Bypassed", "Canceled"]
    inputs: dict[str, Any] | None
    output: dict[str, Any] | None
    error: dict[str, Any] | None
    start_time: datetime
    end_time: datetime
    system_metrics: _SystemMetrics | None

    @property
    def latency_ms(self) -> float:
        """How long the line took."""
        return round((self.end_time - self.start_time).total_seconds() * 1000, 3)

    @property
    def usage(self) -> Usage | None:
        """The line's tokens, None where promptflow counted none."""
        metrics = self.system_metrics or _SystemMetrics()
        if not metrics.prompt_tokens and not metrics.completion_tokens:
            return None
        return Usage(prompt_tokens=metrics.prompt_tokens, completion_tokens=metrics.completion_tokens)

    @property
    def failure(self) -> LineError | None:
        """What the flow's tool raised, as our own runs record it; else promptflow's innermost error."""
        return None if self.status == "Completed" else _error_of(self)


class _LineRecord(BaseModel):
    """A line of promptflow's ``flow_artifacts``."""

    line_number: int
    run_info: LineRun


def is_read_as_date(column: str) -> bool:
    """Whether pandas, and so promptflow, takes a column of the data for dates, whatever it holds."""
    return _READ_AS_DATE.fullmatch(column) is not None


def open_run(reference: str, runs_dir: Path = RUNS) -> RunFolder:
    """Resolve a RUN as ``find_run`` does, else as the name or the folder of a run that ``pf`` made.

    ``pf`` lists the runs of all projects: by its name a run is found where its flow lies in this one, beside or below
    ``runs_dir``. Raises ConfigError where there is none, or it has not ended; DatasetError where the data that it
    answered is not known, not there or not the same any more: without it no line has a name.
    """
    try:
        return find_run(reference, runs_dir)
    except ConfigError:
        listed = _find_listed(reference, runs_dir)
        if listed is None:
            raise
        if reference == listed.name:
            _refuse_other_project(listed, runs_dir)
    if not (listed.folder / "manifest.json").is_file():
        _adopt(listed)
    return RunFolder(listed.folder)


def _find_listed(reference: str, runs_dir: Path) -> _ListedRun | None:
    for path in (runs_dir / reference, Path(reference)):
        if not (path / "flow_artifacts").is_dir():
            continue
        listed = _look_up(path.resolve().name)
        if listed is None or listed.folder != path.resolve():
            raise ConfigError(
                f"{path}: is a run of promptflow, but not one that `pf` lists here ({_store()}), so its data and "
                "column mapping are not known: give the command where the run was made"
            )
        return listed
    listed = _look_up(reference)
    if listed is not None and not listed.folder.is_dir():
        raise ConfigError(f"run {reference}: `pf` lists it, but its folder {listed.folder} is not there any more")
    return listed


def _refuse_other_project(listed: _ListedRun, runs_dir: Path) -> None:
    flow, here = Path(listed.properties.flow_path).resolve(), runs_dir.resolve().parent
    if not any(flow.is_relative_to(folder) for folder in (here, Path.cwd())):
        raise ConfigError(
            f"there is no run {listed.name!r} in {runs_dir}; `pf` lists one of another project, of the flow {flow}: "
            f"give the command there, or its folder, {listed.folder}"
        )


def _store() -> Path:
    return promptflow_home() / "pf.sqlite"


def _look_up(name: str) -> _ListedRun | None:
    """Read one run of promptflow's store; opening it with promptflow itself would take seconds."""
    store = _store()
    if not store.is_file():
        return None
    columns = ", ".join(_ListedRun.model_fields)
    try:
        with closing(sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            row = connection.execute(f"SELECT {columns} FROM run_info WHERE name = ?", (name,)).fetchone()
        return None if row is None else _ListedRun.model_validate(dict(row))
    except (sqlite3.Error, ValidationError) as error:
        raise ConfigError(f"{store}: run {name} cannot be read: {shorten(str(error))}") from error


def _adopt(run: _ListedRun) -> None:
    """Write ``manifest.json`` and ``results.jsonl`` into a run that has ended."""
    data = _data_of(run)
    questions = _questions(run)
    _refuse_sample(run, questions)
    with unchanged_data(data) as sha256:
        rows = [row for _, row in read_data(data)]
    results = _read_results(run, rows, data, questions)
    completed = sum(result.status == "Completed" for result in results)
    started_at = (run.start_time or run.created_on).astimezone(UTC)
    ended_at = run.end_time.astimezone(UTC) if run.end_time else None
    manifest = Manifest(
        name=run.name,
        status=_ENDED[run.status],
        flow=run.properties.flow_path,
        flow_fingerprint=fingerprint(run.folder / "snapshot"),
        data=str(data.resolve()),
        data_sha256=sha256,
        column_mapping={name: str(value) for name, value in run.properties.column_mapping.items()},
        variant=run.properties.node_variant,
        parameters=RunParameters(made_by="pf run create"),
        concurrency="auto",  # promptflow decides, and does not say
        counts=Counts(total=len(rows), completed=completed, failed=len(results) - completed),
        started_at=started_at,
        ended_at=ended_at,
        duration_s=round((ended_at - started_at).total_seconds(), 3) if ended_at else 0.0,
    )
    write_files(
        {
            run.folder / "results.jsonl": (result.model_dump_json().encode() + b"\n" for result in results),
            run.folder / "manifest.json": [manifest.model_dump_json(indent=2).encode() + b"\n"],
        }
    )


def _data_of(run: _ListedRun) -> Path:
    if run.status not in _ENDED:
        raise ConfigError(
            f"run {run.name} is {run.status} in `pf`: wait until it has ended; where its process died, "
            f"pf run create --resume-from {run.name} --name NEW"
        )
    if run.data is None:
        raise DatasetError(
            f"run {run.name}: `pf` knows no data file of it, so its lines cannot be told from one another: "
            "make the run again with pf run create --data FILE"
        )
    if not run.data.is_file():
        raise DatasetError(f"{run.data}: is not a file (any more), but the data of run {run.name}: put it back")
    return run.data


def _questions(run: _ListedRun) -> dict[str, FlowInput]:
    """Return the inputs that are what a line of the run's flow asks."""
    try:
        inputs = load_flow(run.folder / "snapshot").inputs
    except FlowError:  # its files are not kept
        return {}
    return {name: declared for name, declared in inputs.items() if is_asked(name, declared)}


def _refuse_sample(run: _ListedRun, questions: Mapping[str, FlowInput]) -> None:
    """Raise ConfigError where every line was asked a default: promptflow prefers that to the column of its name."""
    for name, declared in questions.items():
        is_sample = declared.has_default and (declared.is_chat_input or declared.is_sample)
        if is_sample and name not in run.properties.column_mapping:
            raise ConfigError(
                f"run {run.name}: `pf` asked every line the default of {name!r}, {shorten(repr(declared.default))}, as "
                f"no column mapping names it: pf run create --column-mapping {name}='${{data.COLUMN}}' makes it anew"
            )


def _lacking(run: _ListedRun, row: Row, questions: Collection[str]) -> LineError | None:
    """Return why a line asked nothing: promptflow asked it the text "None" or "nan"."""
    for name, value in run.properties.column_mapping.items():
        match = _DATA_COLUMN.fullmatch(str(value)) if name in questions else None
        if match and row.get(match.group(1)) is None:
            return LineError(type="ColumnMappingError", message=f"{name} is null in this line ({value})")
    return None


def _read_results(run: _ListedRun, rows: list[Row], data: Path, questions: Collection[str]) -> list[LineResult]:
    """Return each line's result by line_number; a line that never ended has none."""
    line_ids = [line_id for line_id, _ in with_line_ids(rows)]
    results: dict[int, LineResult] = {}
    for file in sorted((run.folder / "flow_artifacts").glob("*.jsonl")):
        for position, raw in read_lines(file):
            try:
                line = _LineRecord.model_validate_json(raw)
            except ValidationError as error:
                problem = first_problem(error)
                raise DatasetError(
                    f"{file}:{position}: {problem.key}: {problem.message}: {shorten(str(problem.value))}"
                ) from error
            number = line.line_number
            if number >= len(rows):
                raise _changed(run, data, f"it has {len(rows)} lines, but the run answered line {number} (from 0)")
            _check_unchanged(run, line, rows[number], data)
            results[number] = _result_of(line, line_ids[number], _lacking(run, rows[number], questions))
    return [results[number] for number in sorted(results)]


def _check_unchanged(run: _ListedRun, line: _LineRecord, row: Row, data: Path) -> None:
    """Compare the texts that the line was given with its row: promptflow keeps no hash of the file."""
    inputs = line.run_info.inputs or {}
    for name, value in run.properties.column_mapping.items():
        match = _DATA_COLUMN.fullmatch(str(value))
        if match is None or is_read_as_date(match.group(1)):
            continue
        before, now = inputs.get(name), row.get(match.group(1))
        if isinstance(before, str) and isinstance(now, str) and before != now:
            raise _changed(
                run, data, f"{match.group(1)} of line {line.line_number} was {shorten(before)!r}, is {shorten(now)!r}"
            )


def _changed(run: _ListedRun, data: Path, difference: str) -> DatasetError:
    return DatasetError(
        f"{data}: has changed since run {run.name} was made: {difference}; put it back, or make the run again"
    )


def _result_of(line: _LineRecord, line_id: str, lacking: LineError | None) -> LineResult:
    info = line.run_info
    inputs = {name: value for name, value in (info.inputs or {}).items() if name != "line_number"}
    completed = info.status == "Completed" and lacking is None
    return LineResult(
        line_number=line.line_number,
        line_id=line_id,
        status="Completed" if completed else "Failed",
        inputs=inputs,
        outputs=info.output if completed else None,
        error=lacking or info.failure,
        latency_ms=info.latency_ms,
        usage=info.usage,
    )


def _error_of(info: LineRun) -> LineError:
    error: Mapping[str, Any] = info.error or {}
    message = str(error.get("message") or f"promptflow ended the line as {info.status}")
    for detail in error.get("additionalInfo") or ():
        match detail:
            case {"type": "ToolExecutionErrorDetails", "info": {"type": str(type_), "message": str(tool_message)}}:
                return LineError(type=type_, message=tool_message or message)
    while isinstance(error.get("innerError"), Mapping):
        error = error["innerError"]
    return LineError(type=str(error.get("code") or info.status), message=message)
