"""What the service makes of a file of examples, once a job validates it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_BOM = b"\xef\xbb\xbf"
_MOST_LISTED = 5
_ROLES = ("system", "developer", "user", "assistant", "tool")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_MESSAGE_TOKENS, _REPLY_TOKENS = 3, 3


def count_tokens(messages: list[dict[str, Any]]) -> int:
    """Return about how many tokens an example has: a word or a sign is one, since no ranks are at hand."""
    texts = [str(message.get("content") or "") for message in messages]
    return sum(_MESSAGE_TOKENS + len(_TOKEN.findall(text)) for text in texts) + _REPLY_TOKENS


def read_examples(content: bytes) -> list[list[dict[str, Any]]]:
    """Return the messages of each example of a file that was found valid."""
    lines = content.decode("utf-8-sig").splitlines()
    return [json.loads(line)["messages"] for line in lines if line.strip()]


def find_problems(content: bytes, noun: str, *, most_tokens: int, fewest: int = 1) -> list[str]:
    """Return what is wrong with a file, a few of the lines where there are many; ``noun`` is what it is for."""
    if not content.startswith(_BOM):
        return [f"The {noun} file must be encoded in UTF-8 with a byte-order mark (BOM)."]
    try:
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        return [f"The {noun} file is not encoded in UTF-8."]
    wrong = [f"{noun} file, line {place}: {what}" for place, what in _wrong_lines(lines, most_tokens)]
    if len(lines) < fewest:
        wrong.insert(0, f"The {noun} file has {len(lines)} examples; at least {fewest} are required.")
    more = len(wrong) - _MOST_LISTED
    return [*wrong[:_MOST_LISTED], f"and {more} more"] if more > 0 else wrong


def _wrong_lines(lines: list[str], most_tokens: int) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(lines, 1):
        try:
            messages = json.loads(line)["messages"]
        except (ValueError, TypeError, KeyError):
            yield place, "is no JSON object with the key 'messages'"
            continue
        problem = _problem_of(messages)
        if problem:
            yield place, problem
        elif (tokens := count_tokens(messages)) > most_tokens:
            yield place, f"the example has {tokens} tokens, which is more than the limit of {most_tokens}"


def _problem_of(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        return "'messages' must be a list of messages"
    for message in messages:
        if message.get("role") not in _ROLES:
            return f"the role {message.get('role')!r} is none of {', '.join(_ROLES)}"
        if message.get("content") is None and not message.get("tool_calls"):
            return "a message has no content"
        if message.get("weight", 1) not in (0, 1) or ("weight" in message and message["role"] != "assistant"):
            return "'weight' must be 0 or 1, and on assistant messages only"
    return None if messages[-1]["role"] == "assistant" else "the last message must be an assistant's"
