"""Where conversations come from: JSON Lines, CSV and Parquet files, and Hugging Face datasets.

Every reader yields chat rows with their source and line, or what is wrong with a row instead, so that one pass lists
all that is. A row with a question and an answer column becomes a chat of one turn; its other columns are kept.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow, read_jsonl
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.storage.jsonl import Row
from phi3flow.text import shorten

QUESTION_COLUMNS = ("question", "prompt")
ANSWER_COLUMNS = ("answer", "completion", "ground_truth")

Rows = Iterator[LocatedRow | Breach]
"""Rows in their order; instead of one that cannot be read, what is wrong with it."""


def read_files(paths: Iterable[Path]) -> Rows:
    """Yield the conversations of several files, each read by its suffix. Raises ConfigError for another suffix."""
    for path in paths:
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(f"{path}: the suffix must be one of {', '.join(_READERS)}")
        yield from _as_chats(reader(path))


def read_hugging_face(name: str, *, config: str | None, split: str) -> Rows:
    """Yield the conversations of a dataset on the Hugging Face hub, or of a local folder in its layout.

    ``split`` may take a slice (``train_sft[:1%]``). Raises DatasetError where it cannot be loaded.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(
            f"the dataset {name} (config {config or 'default'}, split {split}) cannot be loaded: "
            f"{shorten(str(error))} Check the names; without a way to the hub give a local folder, or files by --input"
        ) from error
    rows = (LocatedRow(f"{name}[{split}]", number, _json_row(row)) for number, row in enumerate(loaded, start=1))
    yield from _as_chats(rows)


def _read_csv(path: Path) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a whole conversation in one cell is longer than the module's 128 KiB
    start = 1
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        columns = len(reader.fieldnames or ())
        start = reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                yield Breach(str(path), start, f"the row does not have the header's {columns} columns")
            else:
                yield LocatedRow(str(path), start, dict(row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}:{start}: not CSV: {error}") from error


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8: {shorten(repr(error.object[error.start :])[2:-1])}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _read_parquet(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield LocatedRow(str(path), number, _json_row(row))
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {shorten(str(error))}") from error


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _as_chats(rows: Rows) -> Rows:
    for item in rows:
        if isinstance(item, Breach):
            yield item
            continue
        try:
            yield LocatedRow(item.source, item.line, _as_chat(item.row))
        except ValueError as error:
            yield Breach(item.source, item.line, str(error))


def _as_chat(row: Row) -> Row:
    """Return the row with ``messages``. Raises ValueError where no column gives them."""
    if "messages" in row:
        messages = row["messages"]
        return row | {"messages": _parsed(messages)} if isinstance(messages, str) else row
    question = next((column for column in QUESTION_COLUMNS if column in row), None)
    answer = next((column for column in ANSWER_COLUMNS if column in row), None)
    if question is None or answer is None:
        raise ValueError(
            f"no messages, nor a question ({', '.join(QUESTION_COLUMNS)}) with an answer "
            f"({', '.join(ANSWER_COLUMNS)}); the columns are {shorten(', '.join(row))}"
        )
    messages = [{"role": "user", "content": row[question]}, {"role": "assistant", "content": row[answer]}]
    return {"messages": messages} | {key: row[key] for key in row if key not in (question, answer)}


def _parsed(messages: str) -> Any:
    try:
        return json.loads(messages)
    except ValueError as error:
        raise ValueError(f"messages is not JSON: {shorten(messages)}") from error


def _json_row(row: Row) -> Row:
    """Return a row from Arrow as JSON can hold it; a message's absent fields, which Arrow fills up, are dropped."""
    plain = {key: _json_value(value) for key, value in row.items()}
    if isinstance(plain.get("messages"), list):
        plain["messages"] = [_without_none(message) for message in plain["messages"]]
    return plain


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_json_value(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _without_none(message: Any) -> Any:
    return {key: value for key, value in message.items() if value is not None} if isinstance(message, dict) else message
