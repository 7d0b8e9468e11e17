"""Executions of an evaluation flow on a run's lines, kept as they end: what was paid once is not paid again.

``scores/<evaluation>/executions-<make>.jsonl`` has a line for each execution, after a first line that says with what
they were made. Another flow, mapping, judge or number of repeats is another make, with a file of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError
from pydantic_core import to_json

from phi3flow.connections.known import describe_use
from phi3flow.connections.public import Redactor
from phi3flow.errors import DatasetError
from phi3flow.flows import FlowLine, FlowSession
from phi3flow.flows.evaluation import AnsweredLine, Execution
from phi3flow.flows.line_fingerprint import line_fingerprint
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.record import Record
from phi3flow.records.validation import first_problem
from phi3flow.storage.appended import AppendedLines
from phi3flow.storage.exact_json import decode_exactly, encode_exactly

_FILES = "executions-*.jsonl"
_END = b'{"end":true}\n'
_STANDS_FOR = {"values", "serves"}
_ANSWERED = {"line_id", "inputs", "outputs"}


class Make(Record):
    """What decides an execution, besides the answer: the flow's way over a line, its inputs, and whom it asks.

    ``connections`` has the SHA-256 of what each connection stands for: a name may come to stand for another endpoint,
    and that for another model.
    """

    flow: str
    column_mapping: dict[str, str]
    connections: dict[str, str]
    repeats: int

    @classmethod
    def of(cls, session: FlowSession, mapping: Mapping[str, Any], repeats: int) -> Self:
        """Return the make of executions by an open flow."""
        return cls(
            flow=line_fingerprint(session.flow),
            column_mapping={name: str(value) for name, value in sorted(mapping.items())},
            connections={
                name: _digest(describe_use(name, connection).model_dump_json(include=_STANDS_FOR).encode())
                for name, connection in sorted(session.used_connections.items())
            },
            repeats=repeats,
        )

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"executions-{_digest(self.model_dump_json().encode())}.jsonl"

    def changes_since(self, before: Make) -> str:
        """Say what differs."""
        names = {
            "flow": "the evaluation flow",
            "column_mapping": "the column mapping",
            "connections": "a connection",
            "repeats": "--judge-repeats",
        }
        return ", ".join(text for name, text in names.items() if getattr(self, name) != getattr(before, name))


class _Kept(Record):
    """A line of the file: one execution, and what its aggregation will want of it, None where JSON cannot hold that."""

    line_number: int
    repeat: int
    answer: str
    error: LineError | None = None
    scores: dict[str, float | None] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)
    texts: dict[str, str] = Field(default_factory=dict)
    absent: dict[str, str] = Field(default_factory=dict)
    line: dict[str, Any] | None = None


class KeptExecutions:
    """The executions of one make in ``folder``, read as the file is opened, appended as they end.

    An execution is found again where the line still has the same answer. One that failed, or lacks a metric, is
    found until the scoring ends: the next scoring tries it again. ``changes`` says why there is none although there are
    executions of another make. Raises StorageError where the disk refuses.
    """

    def __init__(self, folder: Path, session: FlowSession, make: Make, *, fresh: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / make.name
        before = None if path.is_file() else _newest_make(folder)
        self.changes = make.changes_since(before) if before else None
        if fresh:
            path.unlink(missing_ok=True)
        self._redactor = Redactor(session)
        self._aggregates = session.has_aggregation
        self._answers: dict[int, str] = {}
        self._file = AppendedLines(path)
        self._kept = {(kept.line_number, kept.repeat, kept.answer): kept for kept in _read(path)}
        if not path.stat().st_size:
            self._file.append(make.model_dump_json().encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(
        self, line: AnsweredLine, repeat: int, inputs: Callable[[AnsweredLine], dict[str, Any]]
    ) -> Execution | LineError | None:
        """Return what became of an execution, None where it has to take place; ``inputs`` says what it was given."""
        kept = self._kept.get((line.result.line_number, repeat, self._answer(line.result)))
        if kept is None or kept.error is not None:
            return None if kept is None else kept.error
        if kept.line is None and self._aggregates:
            return None
        line_gave = decode_exactly(kept.line or {"outputs": {}, "aggregation_inputs": {}})
        return Execution(inputs(line), FlowLine(**line_gave), kept.scores, kept.failures, kept.texts, kept.absent)

    def add(self, line: AnsweredLine, repeat: int, outcome: Execution | LineError) -> None:
        """Append what became of an execution."""
        own = f'{{"line_number":{line.result.line_number},"repeat":{repeat},"answer":"{self._answer(line.result)}",'
        if isinstance(outcome, LineError):
            content = b'"error":' + outcome.model_dump_json().encode()
        else:
            scored = {name: getattr(outcome, name) for name in ("scores", "failures", "texts", "absent")}
            content = to_json(scored)[1:-1] + b',"line":' + self._wanted(outcome.line)
        self._file.append(self._redactor.json(own.encode() + content + b"}\n"))

    def end(self) -> None:
        """Say that the scoring is over."""
        self._file.append(_END)

    def _answer(self, result: LineResult) -> str:
        """Return the SHA-256 of what a line was asked and answered."""
        if result.line_number not in self._answers:
            self._answers[result.line_number] = _digest(result.model_dump_json(include=_ANSWERED).encode())
        return self._answers[result.line_number]

    def _wanted(self, line: FlowLine) -> bytes:
        try:
            return encode_exactly({"outputs": _judge(line.outputs), "aggregation_inputs": line.aggregation_inputs})
        except ValueError:
            return b"null"


def _judge(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"judge": outputs["judge"]} if "judge" in outputs else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path: Path) -> list[_Kept]:
    """Return what the file has of executions, without failures of scorings that ended."""
    kept: list[_Kept] = []
    with path.open("rb") as file:
        file.readline()
        for number, raw in enumerate(file, start=2):
            if raw == _END:
                kept = [execution for execution in kept if _is_final(execution)]
                continue
            try:
                kept.append(_Kept.model_validate(json.loads(raw)))
            except ValueError as error:
                problem = first_problem(error).message if isinstance(error, ValidationError) else error
                raise DatasetError(f"{path}:{number}: is damaged: {problem}; --fresh scores all anew") from error
    return kept


def _is_final(execution: _Kept) -> bool:
    return execution.error is None and not execution.failures and not execution.absent


def _newest_make(folder: Path) -> Make | None:
    files = sorted(folder.glob(_FILES), key=lambda file: file.stat().st_mtime)
    for file in reversed(files):
        with file.open("rb") as lines, contextlib.suppress(ValidationError):
            return Make.model_validate_json(lines.readline())
    return None
