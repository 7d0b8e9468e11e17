"""A chat file as a fine-tuning service takes it: the same bytes for the same chats, however their file was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow, is_learnt, locate_chats, refuse
from phi3flow.errors import DatasetError
from phi3flow.storage.files import write_files
from phi3flow.storage.jsonl import Row, encode_rows
from phi3flow.storage.opened import BYTE_ORDER_MARK
from phi3flow.text import plural, shorten

MEGABYTE = 1024**2
FILE_LIMIT_BYTES = 512 * MEGABYTE
"""A service takes files below it."""


@dataclass(frozen=True)
class ServiceFile:
    """A file that was written for a service.

    ``weights_lost`` messages of weight 0 stand in it without their weight, so that the service learns them too.
    """

    path: Path
    sha256: str
    size_bytes: int
    examples: int
    weights_lost: int


def write_for_service(
    source: Path,
    target: Path,
    *,
    message_keys: Sequence[str],
    fewest_examples: int = 1,
    limit_bytes: int = FILE_LIMIT_BYTES,
) -> ServiceFile:
    """Write the chats of ``source`` to ``target``: their messages only, and of these what ``message_keys`` names.

    The keys are ``role``, ``content``, ``name``, and ``weight``, which only an assistant's message has. UTF-8 with a
    byte-order mark, as Azure asks for; an object a line. Raises DatasetError for what is no chat, for too few examples,
    and for a file of ``limit_bytes`` or more.
    """
    chats = locate_chats(source)
    if len(chats) < fewest_examples:
        count = plural(len(chats), "example")
        raise DatasetError(f"{source} has {count}; the service takes at least {fewest_examples:,}")
    if nameless := [breach for chat in chats for breach in _name_breaches(chat)] if "name" in message_keys else []:
        refuse(nameless)
    content = [BYTE_ORDER_MARK, *encode_rows(_for_service(chat.row, message_keys) for chat in chats)]
    size_bytes = sum(map(len, content))
    if size_bytes >= limit_bytes:
        raise DatasetError(
            f"{source} is {size_bytes / MEGABYTE:,.1f} MB as the service gets it, which takes less than "
            f"{limit_bytes / MEGABYTE:,.4g} MB: leave examples out"
        )
    write_files({target: content})
    sha256 = hashlib.sha256(b"".join(content)).hexdigest()
    return ServiceFile(target, sha256, size_bytes, len(chats), _weights_lost(chats, message_keys))


def _name_breaches(chat: LocatedRow) -> Iterator[Breach]:
    for number, message in enumerate(chat.row["messages"], start=1):
        name = message.get("name")
        if name is not None and not (isinstance(name, str) and name):
            yield Breach(chat.source, chat.line, f"message {number}: name must be a text: {shorten(repr(name))}")


def _for_service(row: Row, message_keys: Sequence[str]) -> Row:
    return {"messages": [_message(message, message_keys) for message in row["messages"]]}


def _message(message: Row, message_keys: Sequence[str]) -> Row:
    kept: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if message.get("name") is not None:
        kept["name"] = message["name"]
    if message["role"] == "assistant" and message.get("weight") is not None:
        kept["weight"] = int(message["weight"])
    return {key: value for key, value in kept.items() if key in message_keys}


def _weights_lost(chats: Sequence[LocatedRow], message_keys: Sequence[str]) -> int:
    if "weight" in message_keys:
        return 0
    answers = (message for chat in chats for message in chat.row["messages"] if message["role"] == "assistant")
    return sum(not is_learnt(answer) for answer in answers)
