"""Answers that are in a file already, as a run: its lines are the file's rows, and no flow of ours gave them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from phi3flow import __version__
from phi3flow.errors import ColumnMappingError, DatasetError
from phi3flow.flows import Flow
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.runs import Counts, Manifest, RunParameters
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_record
from phi3flow.runs.writer import RunWriter
from phi3flow.storage.data_files import Place, read_data, unchanged_data
from phi3flow.storage.jsonl import Row, with_line_ids

MADE_BY = "score --data"
_ANSWER = "answer"
_NO_ANSWERS = frozenset(
    {"question", "query", "context", "ground_truth", "groundtruth", "values", "chat_history", "conversation_id"}
)
_COLUMN = re.compile(r"\$\{(?P<source>data|run\.outputs)\.(?P<name>.+)\}")
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def run_of_answers(data: Path, flows: Sequence[Flow], mapping: Mapping[str, str], runs_dir: Path) -> RunFolder:
    """Return the run of a data file's answers, which is made where there is none yet.

    The answers are the columns that the mapping takes from ``${run.outputs…}``, else the one of the flows' input
    ``answer``, else those of their inputs that by their names are neither question nor truth. A row whose answers are
    all null is a line that failed. A row without a line_id is known by its other columns, so that two files of answers
    to the same rows pair. The run is named after the file, and after the answers' column where that is not ``answer``;
    where another run has the name, after the file's content too.

    Raises DatasetError for a row that is none and for an empty file, ColumnMappingError where no column
    holds answers, ConfigError where another process writes the run, StorageError.
    """
    with unchanged_data(data) as sha256:
        rows = list(read_data(data))
    if not rows:
        raise DatasetError(f"{data}: has no line: there is nothing to score")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    answers = _answer_columns(data, flows, mapping, columns)
    manifest = _manifest(data, sha256, answers, len(rows), runs_dir)
    path = runs_dir / manifest.name
    if _is_whole(path, manifest):
        return RunFolder(path)
    with RunWriter.open(runs_dir, manifest) as writer:
        writer.append_all(_results(rows, answers))
        writer.finish("Completed", duration_s=0.0)
        run = RunFolder(writer.path)
        write_pf_record(run, None)
    return run


def map_given(run: RunFolder, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping with the answers' columns taken from the run, also where it says ``${data.COLUMN}``."""
    answers = {f"${{data.{name}}}": f"${{run.outputs.{name}}}" for name in run.manifest.column_mapping}
    return {name: answers.get(value, value) for name, value in mapping.items()}


def _answer_columns(data: Path, flows: Sequence[Flow], mapping: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    taken, from_run = dict[str, str](), list[str]()
    for name in dict.fromkeys(name for flow in flows for name in flow.inputs):
        match = _COLUMN.fullmatch(str(mapping[name])) if name in mapping else None
        if match:
            taken[name] = match["name"]
            from_run += [match["name"]] if match["source"] == "run.outputs" else []
        elif name not in mapping and name in columns:
            taken[name] = name
    others = [column for name, column in taken.items() if not {name, column} & _NO_ANSWERS]
    answers = from_run or ([taken[_ANSWER]] if _ANSWER in taken else others)
    missing = [name for name in answers if name not in columns]
    inputs = [name for flow in flows for name in flow.inputs]
    if missing or not answers or (_ANSWER in inputs and _ANSWER not in mapping and _ANSWER not in columns):
        what = f"there is no column {missing[0]}" if missing else "no column holds answers"
        raise ColumnMappingError(
            f"{data}: {what}; its columns are {', '.join(columns)}. "
            f"Add --column-mapping {_ANSWER if _ANSWER in inputs else 'INPUT'}='${{data.COLUMN}}'"
        )
    return list(dict.fromkeys(answers))


def _manifest(data: Path, sha256: str, answers: Sequence[str], lines: int, runs_dir: Path) -> Manifest:
    """Return the manifest of the run that has these answers, or will."""
    manifest = Manifest(
        name=_name(data.stem, answers),
        status="Running",
        flow="",
        flow_fingerprint="",
        data=str(data.resolve()),
        data_sha256=sha256,
        column_mapping={name: f"${{data.{name}}}" for name in answers},
        parameters=RunParameters(made_by=MADE_BY),
        concurrency="auto",
        counts=Counts(total=lines),
        started_at=datetime.now(UTC),
        versions={"phi3flow": __version__},
    )
    if _is_same(runs_dir / manifest.name, manifest):
        return manifest
    return manifest.model_copy(update={"name": f"{manifest.name}-{manifest.data_sha256[:8]}"})


def _name(stem: str, answers: Sequence[str]) -> str:
    words = [stem, *(answers if list(answers) != [_ANSWER] else ())]
    return _NO_FILE_NAME.sub("-", "-".join(words)).strip("-.")[:100] or "answers"


def _is_same(path: Path, manifest: Manifest) -> bool:
    """Whether there is no run in a folder, or the one of these answers."""
    if not (path / "manifest.json").is_file():
        return True
    before = RunFolder(path).manifest
    names = ("flow_fingerprint", "data_sha256", "column_mapping")
    return all(getattr(before, name) == getattr(manifest, name) for name in names)


def _is_whole(path: Path, manifest: Manifest) -> bool:
    if not (path / "manifest.json").is_file():
        return False
    before = RunFolder(path).manifest
    return before.status == "Completed" and before.data == manifest.data and _is_same(path, manifest)


def _results(rows: Sequence[tuple[Place, Row]], answers: Sequence[str]) -> Iterator[LineResult]:
    others = ({name: value for name, value in row.items() if name not in answers} for _, row in rows)
    for number, ((place, row), (line_id, inputs)) in enumerate(zip(rows, with_line_ids(others), strict=True)):
        outputs = {name: row.get(name) for name in answers}
        answered = any(value is not None for value in outputs.values())
        reason = f"{place}: {' and '.join(answers)} is null"
        yield LineResult(
            line_number=number,
            line_id=line_id,
            status="Completed" if answered else "Failed",
            inputs=inputs,
            outputs=outputs if answered else None,
            error=None if answered else LineError(type="NoAnswer", message=reason),
            latency_ms=None,
        )
