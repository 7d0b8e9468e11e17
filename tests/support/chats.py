"""Rows of chats, for tests of what reads, splits and counts them."""

from __future__ import annotations


def chat(*contents: str, system: str | None = None, **columns: object) -> dict:
    """Return a row whose messages are a user's and an assistant's in turn, with other columns beside them."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    opening = [{"role": "system", "content": system}] if system else []
    return {"messages": opening + messages, **columns}


def message(role: object, content: object) -> dict:
    """Return a message, right or wrong."""
    return {"role": role, "content": content}
