"""Chat rows: what makes one right, and the evaluation lines that follow from it.

The format: ``{"messages": [{"role", "content"}, …]}``; at most one system message, first; then
user and assistant in turn; the last is an assistant's; no empty content. Other keys are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import check_data
from phi3flow.storage.jsonl import Row, identity, line_id, with_line_ids
from phi3flow.text import shorten

ROLES = ("system", "user", "assistant")

_LABELS = ("kind", "language")
_IDENTITIES = ("conversation_id", "prompt_id")


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong with one row; ``line`` counts from 1 (in Parquet: the row)."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class LocatedRow:
    """A row and where it stands."""

    source: str
    line: int
    row: Row


def breaches(row: Row) -> Iterator[str]:
    """Yield every reason why ``row`` is no chat, none where it is one."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        yield f"messages must be a list of messages: {_shown(messages)}"
        return
    malformed = False
    for number, message in enumerate(messages, start=1):
        for reason in _message_breaches(message):
            malformed = True
            yield f"message {number}: {reason}"
    if not malformed:
        yield from _order_breaches([message["role"] for message in messages])


def locate_rows(path: Path) -> Iterator[LocatedRow | Breach]:
    """Yield every row of a data file or folder, or the breach in its place where it is none."""
    for (file, line), row in check_data(path):
        if isinstance(row, ValueError):
            yield Breach(str(file), line, str(row))
        else:
            yield LocatedRow(str(file), line, row)


def checked(rows: Iterable[LocatedRow | Breach]) -> Iterator[LocatedRow | Breach]:
    """Replace each row that is no chat by its breaches."""
    for item in rows:
        reasons = list(breaches(item.row)) if isinstance(item, LocatedRow) else []
        if reasons:
            yield from (Breach(item.source, item.line, reason) for reason in reasons)
        else:
            yield item


def read_chats(path: Path) -> list[Row]:
    """Return the chat rows of a data file. Raises DatasetError that lists every breach in it."""
    items = list(checked(locate_rows(path)))
    wrong = [item for item in items if isinstance(item, Breach)]
    if wrong:
        refuse(wrong)
    if not items:
        raise DatasetError(f"{path} holds no conversation")
    return [item.row for item in items if isinstance(item, LocatedRow)]


def refuse(wrong: Sequence[Breach]) -> NoReturn:
    """Raise a DatasetError that lists every breach, one a line."""
    count = "1 breach" if len(wrong) == 1 else f"{len(wrong)} breaches"
    raise DatasetError("\n".join([f"{count} of the chat format:", *map(str, wrong)]))


def questions(row: Row) -> list[str]:
    """Return the contents of the user's messages, first to last."""
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def conversation_id(row: Row) -> str | None:
    """Return the row's own name for its conversation, None where it has none."""
    return next((name for key in _IDENTITIES if (name := identity(row.get(key))) is not None), None)


def evaluation_lines(rows: Iterable[Row], *, last_turn_only: bool = False) -> Iterator[Row]:
    """Yield one evaluation line for each assistant turn (or each conversation's last) of chat rows.

    ``chat_history`` is in Prompt flow's form, ``context`` the system message, ``values`` the strings that a right
    answer must contain (from the row's own ``values``, one list for each assistant turn; empty where it has none).
    """
    for unnamed_id, row in with_line_ids(rows):
        lines = list(_lines_of(conversation_id(row) or unnamed_id, row))
        for line in lines[-1:] if last_turn_only else lines:
            yield {"line_id": line_id(line), **line}


def _lines_of(conversation: str, row: Row) -> Iterator[Row]:
    messages = row["messages"]
    context = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = [message["content"] for message in messages if message["role"] != "system"]
    values = _values(row, len(turns) // 2)
    labels = {key: row[key] for key in _LABELS if isinstance(row.get(key), str)}
    history: list[Row] = []
    for question, answer, required in zip(turns[::2], turns[1::2], values, strict=True):
        yield {
            "conversation_id": conversation,
            "question": question,
            "chat_history": list(history),
            "context": context,
            "ground_truth": answer,
            "values": required,
            **labels,
        }
        history.append({"inputs": {"question": question}, "outputs": {"answer": answer}})


def _values(row: Row, turns: int) -> list[list[str]]:
    """Return the row's ``values`` where they are one list of strings a turn, else none: others may mean else by it."""
    values = row.get("values")
    if (
        isinstance(values, list)
        and len(values) == turns
        and all(isinstance(turn, list) and all(isinstance(value, str) for value in turn) for turn in values)
    ):
        return values
    return [[] for _ in range(turns)]


def _message_breaches(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"not an object: {_shown(message)}"
        return
    if message.get("role") not in ROLES:
        yield f"role must be {', '.join(ROLES[:-1])} or {ROLES[-1]}: {_shown(message.get('role'))}"
    content = message.get("content")
    if not isinstance(content, str):
        yield f"content must be a string: {_shown(content)}"
    elif not content.strip():
        yield f"content is empty: {_shown(content)}"


def _order_breaches(roles: Sequence[str]) -> Iterator[str]:
    start = 1 if roles[0] == "system" else 0
    expected = "user"
    for number, role in enumerate(roles[start:], start=start + 1):
        if role == "system":
            yield f"message {number}: a system message stands first or not at all"
            continue
        if role != expected:
            yield f"message {number}: user and assistant take turns, user first: {role} where {expected} is due"
        expected = "assistant" if role == "user" else "user"
    if roles[-1] != "assistant":
        yield f"the last message must be an assistant's: {roles[-1]}"


def _shown(value: Any) -> str:
    return "missing" if value is None else shorten(repr(value))
