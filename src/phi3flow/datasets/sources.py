"""Where conversations come from: data files, and Hugging Face datasets.

Every reader yields chat rows with their source and line, or what is wrong with a row instead, so that one pass lists
all that is. A row with a question and an answer column becomes a chat of one turn; its other columns are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow, locate_rows
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import Row
from phi3flow.storage.parquet import json_row
from phi3flow.text import shorten

QUESTION_COLUMNS = ("question", "prompt")
ANSWER_COLUMNS = ("answer", "completion", "ground_truth")

Rows = Iterator[LocatedRow | Breach]
"""Rows in their order; instead of one that cannot be read, what is wrong with it."""


def read_files(paths: Iterable[Path]) -> Rows:
    """Yield the conversations of several files and folders, in whatever form."""
    for path in paths:
        yield from _as_chats(locate_rows(path))


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
    yield from _as_chats(_locate(f"{name}[{split}]", loaded))


def _locate(source: str, rows: Iterable[Mapping[str, Any]]) -> Rows:
    for number, row in enumerate(rows, start=1):
        try:
            yield LocatedRow(source, number, json_row(row))
        except ValueError as error:
            yield Breach(source, number, str(error))


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
        messages = _parsed(row["messages"])
        return row | {"messages": [*map(_without_none, messages)] if isinstance(messages, list) else messages}
    question = next((column for column in QUESTION_COLUMNS if column in row), None)
    answer = next((column for column in ANSWER_COLUMNS if column in row), None)
    if question is None or answer is None:
        raise ValueError(
            f"no messages, nor a question ({', '.join(QUESTION_COLUMNS)}) with an answer "
            f"({', '.join(ANSWER_COLUMNS)}); the columns are {shorten(', '.join(row))}"
        )
    messages = [{"role": "user", "content": row[question]}, {"role": "assistant", "content": row[answer]}]
    return {"messages": messages} | {key: row[key] for key in row if key not in (question, answer)}


def _parsed(messages: Any) -> Any:
    """Return messages, out of their JSON where they stand in a cell. Raises ValueError where that is none."""
    if not isinstance(messages, str):
        return messages
    try:
        return json.loads(messages)
    except ValueError as error:
        raise ValueError(f"messages is not JSON: {shorten(messages)}") from error


def _without_none(message: Any) -> Any:
    """Return a message without its absent fields, which Arrow fills up."""
    return {key: value for key, value in message.items() if value is not None} if isinstance(message, dict) else message
