"""Chat rows: what makes one right, and what of it is learnt.

The format: ``{"messages": [{"role", "content"}, …]}``; at most one system message, first; then
user and assistant in turn; the last is an assistant's; no empty content. Other keys are kept.
An assistant's message with ``"weight": 0`` is read and not learnt, as in OpenAI's fine-tuning.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from phi3flow.errors import DatasetError
from phi3flow.storage.conversation_names import conversation_column
from phi3flow.storage.data_files import check_data
from phi3flow.storage.jsonl import Row, WrittenFloat, identity, parse_row, read_lines
from phi3flow.storage.opened import is_packed
from phi3flow.text import shorten

ROLES = ("system", "user", "assistant")

LISTED_BREACHES = 20
"""So many breaches are listed in full; of more, these and a count by reason: nobody reads 20,000."""

_MESSAGE_NUMBER = re.compile(r"message \d+: ")
_DIGITS = re.compile(r"\d+")
_PROMPT_COLUMN = "prompt_id"  # UltraChat's name of a conversation


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


def read_jsonl(path: Path) -> Iterator[LocatedRow | Breach]:
    """Yield every row of a JSON Lines file, or the breach in its place where a line is no JSON object."""
    for number, raw in read_lines(path):
        try:
            yield LocatedRow(str(path), number, parse_row(raw, parse_float=WrittenFloat))
        except ValueError as error:
            yield Breach(str(path), number, str(error))


def locate_rows(path: Path) -> Iterator[LocatedRow | Breach]:
    """Yield every row of a data file or folder, or the breach in its place where it is none."""
    for (file, line), row in check_data(path, parse_float=WrittenFloat):
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
    """Return the chat rows of a JSON Lines file, which a fine-tuning service gets as it is.

    Raises DatasetError that lists the breaches in it.
    """
    return [item.row for item in locate_chats(path)]


def locate_chats(path: Path) -> list[LocatedRow]:
    """Return what ``read_chats`` does, each row with its place."""
    if is_packed(path):
        raise DatasetError(f"{path}: fine-tuning takes chats in JSON Lines: unpack the file")
    items = list(checked(read_jsonl(path)))
    wrong = [item for item in items if isinstance(item, Breach)]
    if wrong:
        refuse(wrong)
    if not items:
        raise DatasetError(f"{path} holds no conversation")
    return [item for item in items if isinstance(item, LocatedRow)]


def refuse(wrong: Sequence[Breach], *, remedy: str = "") -> NoReturn:
    """Raise a DatasetError that lists the breaches, one a line, and ends with the remedy."""
    count = "1 breach" if len(wrong) == 1 else f"{len(wrong):,} breaches"
    raise DatasetError("\n".join([f"{count} of the chat format:", *describe(wrong), *([remedy] if remedy else [])]))


def describe(wrong: Sequence[Breach]) -> list[str]:
    """Return each breach as a line; of more than LISTED_BREACHES the first ones, and how many are of each kind."""
    if len(wrong) <= LISTED_BREACHES:
        return [*map(str, wrong)]
    kinds = defaultdict[str, list[Breach]](list)
    for breach in wrong:
        kinds[_kind(breach.reason)].append(breach)
    by_count = sorted(kinds.items(), key=lambda item: -len(item[1]))
    counts = [f"{len(alike):,} times: {kind}, first in {alike[0].source}:{alike[0].line}" for kind, alike in by_count]
    return [*map(str, wrong[:LISTED_BREACHES]), f"… and {len(wrong) - LISTED_BREACHES:,} more; in all", *counts]


def is_learnt(message: Row) -> bool:
    """Tell whether a training learns to say this message: an assistant's, but for one of weight 0."""
    return bool(message["role"] == "assistant" and message.get("weight") != 0)


def questions(row: Row) -> list[str]:
    """Return the contents of the user's messages, first to last."""
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def first_question(row: Row) -> str:
    """Return the first question whose answer is learnt: what a row begins with is read only where it has weight 0.

    Where none is learnt, the first of all.
    """
    question = ""
    for message in row["messages"]:
        if message["role"] == "user":
            question = message["content"]
        elif is_learnt(message):
            return str(question)
    return questions(row)[0]


def conversation_id(row: Row) -> str | None:
    """Return the row's own name for its conversation, None where it has none."""
    columns = (conversation_column(row), _PROMPT_COLUMN)
    return next((name for column in columns if column and (name := identity(row.get(column))) is not None), None)


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
    weight = message.get("weight")
    if isinstance(weight, bool) or weight not in (None, 0, 1):
        yield f"weight must be 0 or 1: {_shown(weight)}"


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


def _kind(reason: str) -> str:
    """Return a reason without the message's number, its value and other figures."""
    return _DIGITS.sub("…", _MESSAGE_NUMBER.sub("", reason, count=1).partition(": ")[0])
