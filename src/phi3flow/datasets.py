"""Chat datasets."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phi3flow.jsonl import Row, line_id, with_line_ids


@dataclass(frozen=True)
class Splits:
    """Chat rows by split; a conversation stands in one of them only."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]


def evaluation_lines(rows: Iterable[Row], *, last_turn_only: bool = False) -> Iterator[Row]:
    """Yield one evaluation line for each assistant turn (or each conversation's last) of chat rows.

    ``chat_history`` is in Prompt flow's form, ``context`` the system message, ``values`` the strings that a right
    answer must contain (from the row's own ``values``, one list for each assistant turn; empty where it has none).
    """
    for conversation_id, row in with_line_ids(rows):
        lines = list(_lines_of(row.get("conversation_id") or conversation_id, row))
        yield from lines[-1:] if last_turn_only else lines


def _lines_of(conversation_id: str, row: Row) -> Iterator[Row]:
    messages = row["messages"]
    context = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = [message["content"] for message in messages if message["role"] != "system"]
    values = row.get("values")
    labels = {key: row[key] for key in ("kind", "language") if key in row}
    history: list[Row] = []
    for number, (question, answer) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
        line = {
            "conversation_id": conversation_id,
            "question": question,
            "chat_history": list(history),
            "context": context,
            "ground_truth": answer,
            "values": values[number] if values else [],
            **labels,
        }
        yield {"line_id": line_id(line), **line}
        history.append({"inputs": {"question": question}, "outputs": {"answer": answer}})


def normalise(text: str) -> str:
    """Return what two texts have in common that differ only in case, punctuation, width or white space (NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (" " if unicodedata.category(character)[0] in "PSZC" else character for character in folded)
    return " ".join("".join(kept).split())
