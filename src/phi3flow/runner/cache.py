"""Answers at temperature 0, kept between runs in one sqlite file: the same question to the same model costs once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from phi3flow.errors import ColumnMappingError, StorageError
from phi3flow.flows import Flow
from phi3flow.flows.line_setting import line_setting
from phi3flow.records.images import image_paths
from phi3flow.records.lines import LineResult
from phi3flow.runner.aggregation import has_aggregation_node
from phi3flow.runner.data_lines import DataLine
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.workers.attempt import line_inputs
from phi3flow.workers.messages import Attempt

_LOG = logging.getLogger(__name__)
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, result BLOB NOT NULL) WITHOUT ROWID"


@dataclass(frozen=True)
class CachedAnswer:
    """A line's result, and JSON of what the flow's aggregation will want of the line, where it has one."""

    result: LineResult
    aggregation_inputs: bytes | None


class AnswerCache:
    """Finds and keeps the results of one run's lines.

    A line is known by the flow's fingerprint and variant, its inputs, the environment that is set for the flow, and its
    connections' names, public values (endpoint, model, deployment) and what their endpoints say that they serve: a
    changed flow or endpoint answers anew. Only
    lines at temperature 0 are kept: the line's input ``temperature``, else the flow's default, else what a node is
    given; a flow that names none is not. An answer is kept at once, and several runs may share the file.
    Raises StorageError where the file cannot be opened, read or written.
    """

    def __init__(
        self,
        path: Path,
        flow: Flow,
        mapping: Mapping[str, Any],
        connections: Mapping[str, Mapping[str, Any]],
        *,
        environment: Mapping[str, str],
    ) -> None:
        self.hits = 0
        self._temperatures = set[float | None]()
        self._path = path
        self._flow = flow
        self._aggregates = has_aggregation_node(flow)
        self._mapping = mapping
        self._untold = sorted(name for name, values in connections.items() if not values.get("serves"))
        self._same = [flow.fingerprint, flow.variant, flow.init, dict(connections), dict(environment)]
        with self._refused("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLE}")

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if kind is None and self.hits and self._untold:
            _LOG.warning(
                "warning: %s from the cache; %s does not say which model it serves: where that is another now, leave "
                "out --cache",
                "1 line was answered" if self.hits == 1 else f"{self.hits:,} lines were answered",
                " or ".join(self._untold),
            )
        if kind is None and self._temperatures and 0 not in self._temperatures:
            temperature = next(iter(self._temperatures))
            _LOG.warning(
                "warning: --cache kept nothing: %s, and only answers at temperature 0 are kept "
                "(--column-mapping temperature=0, where the flow has such an input)",
                "the flow names no temperature" if temperature is None else f"the temperature is {temperature:g}",
            )

    def find(self, line: DataLine) -> CachedAnswer | None:
        """Return the line's result, with ``attempts`` 0, where an equal line was answered before."""
        row = parse_row(line.row)
        key = self._key(row, line.history)
        if key is None:
            return None
        with self._refused("read"):
            answer = self._database.execute("SELECT result FROM answers WHERE key = ?", [key]).fetchone()
        result, _, aggregation_inputs = answer[0].partition(b"\n") if answer else (b"", b"", b"")
        if not result or (self._aggregates and not aggregation_inputs):
            return None
        own = {"line_number": line.number, "line_id": line.line_id or line_id(row), "attempts": 0, "latency_ms": 0.0}
        try:
            cached = LineResult.model_validate_json(result).model_copy(update=own)
        except ValidationError:  # of another version
            return None
        self.hits += 1
        return CachedAnswer(cached, aggregation_inputs or None)

    def keep(self, attempt: Attempt, result: bytes, aggregation_inputs: bytes | None) -> None:
        """Keep a completed line's result, and what the aggregation will want of it on a second line."""
        key = self._key(parse_row(attempt.row), attempt.history)
        if key:
            answer = result if aggregation_inputs is None else result + b"\n" + aggregation_inputs
            with self._refused("written"):
                self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", [key, answer])

    @contextlib.contextmanager
    def _refused(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{self._path}: the cache cannot be {what}: {error}; delete it, or leave out --cache"
            ) from error

    def _key(self, row: dict[str, Any], history: list[dict[str, Any]] | None) -> bytes | None:
        try:
            inputs = line_inputs(self._mapping, row, history, self._flow)
        except ColumnMappingError:
            return None
        temperature = line_setting(self._flow, inputs, "temperature")
        self._temperatures.add(temperature)
        if temperature != 0 or any(image_paths(inputs)):
            return None  # an image may have changed under its path
        content = json.dumps([*self._same, inputs], sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(content.encode("utf-8", "replace")).digest()
