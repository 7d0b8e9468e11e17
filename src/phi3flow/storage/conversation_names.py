"""The column that names a row's conversation, however its author spells it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from phi3flow.text import letters

CONVERSATION_COLUMN = "conversation_id"
"""What the column is called in the lines that are written here."""

_NAMES = ("conversationid", "convid", "dialogueid", "dialogid", "sessionid", "threadid", "chatid")


def conversation_column(columns: Iterable[str]) -> str | None:
    """Return which of a row's columns names its conversation, None where none does by its name.

    ``conversation_id`` itself, else the same letters (Conversation-ID, conversationId), else those of a dialogue,
    session, thread or chat.
    """
    return _conversation_column(tuple(columns))


@lru_cache(maxsize=1024)
def _conversation_column(columns: tuple[str, ...]) -> str | None:
    if CONVERSATION_COLUMN in columns:
        return CONVERSATION_COLUMN
    by_letters = {letters(column): column for column in reversed(columns)}
    return next((by_letters[name] for name in _NAMES if name in by_letters), None)
