"""Chats as the data of a run: a file of them becomes evaluation lines, one for each answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from phi3flow.datasets.chat import Breach, LocatedRow, checked, locate_rows, refuse
from phi3flow.datasets.evaluation import evaluation_lines
from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import check_data, unchanged_data
from phi3flow.storage.files import write_changed
from phi3flow.storage.jsonl import encode_rows


@dataclass(frozen=True)
class ChatLines:
    """The file that holds a chat file's evaluation lines, and how many conversations and lines there are."""

    path: Path
    conversations: int
    lines: int


def holds_chats(data: Path) -> bool:
    """Whether the first row of data is a chat: it has messages, and no question of its own."""
    _, row = next(check_data(data), (None, None))
    return isinstance(row, dict) and isinstance(row.get("messages"), list) and "question" not in row


def lines_of_chats(data: Path, *, folder: Path) -> ChatLines:
    """Write the evaluation lines of chats to a folder in ``folder`` of their own, and return where they are.

    The folder is named by the content of ``data``; what is there already, as it would be, is left alone. Raises
    DatasetError for what is no chat, and where no answer is left.
    """
    with unchanged_data(data) as sha256:
        items = list(checked(locate_rows(data)))
    if wrong := [item for item in items if isinstance(item, Breach)]:
        refuse(wrong)
    rows = [item.row for item in items if isinstance(item, LocatedRow)]
    lines = list(evaluation_lines(rows))
    if not lines:
        raise DatasetError(f"{data}: every answer has weight 0, so that none makes a line")
    key = hashlib.sha256(sha256.encode()).hexdigest()[:16]
    path = folder / key / f"{data.name.partition('.')[0]}_lines.jsonl"
    write_changed({path: encode_rows(lines)})
    return ChatLines(path, len(rows), len(lines))
