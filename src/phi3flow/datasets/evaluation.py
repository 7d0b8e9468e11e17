"""The evaluation lines that follow from chats: a question, its history, and what a right answer says.

A row's own columns (a category, a passage that the question is about) are a line's too, but where the line has a
value of its own under that name: a column never takes the place of the question or of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from phi3flow.datasets.chat import conversation_id, is_learnt
from phi3flow.storage.jsonl import Row, identity, line_id, with_line_ids

FIELDS = ("conversation_id", "question", "chat_history", "context", "ground_truth", "values")
"""What a line says of itself, in this order, after its ``line_id``."""

_NO_COLUMNS = frozenset({"messages", "line_id", *FIELDS})


def evaluation_lines(
    rows: Iterable[Row], *, last_turn_only: bool = False, hidden: Counter[str] | None = None
) -> Iterator[Row]:
    """Yield one evaluation line for each assistant turn that is learnt (or each conversation's last) of chat rows.

    ``chat_history`` is in Prompt flow's form, ``context`` the system message or, without one, the row's own column,
    ``values`` the strings that a right answer must contain (from the row's own ``values``, one list for each assistant
    turn; empty where it has none). An answer of weight 0 is history only: its author says that it is no model to learn
    from. ``hidden`` counts, by name, the columns that gave way to a line's own value.
    """
    for unnamed_id, row in with_line_ids(rows):
        lines = list(_lines_of(conversation_id(row) or unnamed_id, row))
        name = identity(row.get("line_id"))
        for number, line in enumerate(lines[-1:] if last_turn_only else lines, start=1):
            if hidden is not None:
                hidden.update(field for field in FIELDS if not _agrees(field, row, line))
            yield {"line_id": _line_id(line, name, number), **line}


def _line_id(line: Row, name: str | None, number: int) -> str:
    """Return the row's own name for the first of its lines, with the line's number for the others."""
    if name is None:
        return line_id(line)
    return name if number == 1 else f"{name}#{number}"


def _lines_of(conversation: str, row: Row) -> Iterator[Row]:
    messages = row["messages"]
    context = messages[0]["content"] if messages[0]["role"] == "system" else row.get("context")
    turns = [message for message in messages if message["role"] != "system"]
    values = _values(row, [is_learnt(answer) for answer in turns[1::2]])
    columns = {key: value for key, value in row.items() if key not in _NO_COLUMNS}
    history: list[Row] = []
    for user, answer, required in zip(turns[::2], turns[1::2], values, strict=True):
        question = user["content"]
        if is_learnt(answer):
            yield {
                "conversation_id": conversation,
                "question": question,
                "chat_history": list(history),
                "context": "" if context is None else context,
                "ground_truth": answer["content"],
                "values": required,
                **columns,
            }
        history.append({"inputs": {"question": question}, "outputs": {"answer": answer["content"]}})


def _values(row: Row, learnt: Sequence[bool]) -> list[list[str]]:
    """Return the row's ``values`` where they are a list of strings a turn, else none: others may mean else by it.

    Of one turn that is learnt they may be the list itself.
    """
    values = row.get("values")
    if isinstance(values, list) and len(values) == len(learnt) and all(map(_is_texts, values)):
        return values
    if isinstance(values, list) and sum(learnt) == 1 and _is_texts(values):
        return [values if counts else [] for counts in learnt]
    return [[] for _ in learnt]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _agrees(field: str, row: Mapping[str, Any], line: Row) -> bool:
    """Tell whether the row has no column of this name, or none that says anything else than its line."""
    own: Any = row.get(field)
    value: Any = line[field]
    if own is None or own == value:
        return True
    if field == "conversation_id":
        return bool(identity(own) == value)
    if field == "values":
        return isinstance(own, list) and (value in own or not any(own))
    return field in ("chat_history", "context") and not own
