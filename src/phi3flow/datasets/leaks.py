"""Lines whose question was trained on: a score of them says nothing about new questions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from phi3flow.datasets.chat import LocatedRow, checked, questions, read_jsonl
from phi3flow.datasets.splitting import question_key
from phi3flow.storage.jsonl import Row


def leaked_lines(data: Path, rows: Iterable[Row]) -> list[int]:
    """Return the numbers of the ``rows`` whose conversation begins with a question of train.jsonl or validation.jsonl.

    The files are looked for beside ``data``; what is no chat in them is passed over (check-data reports it).
    """
    trained = set[str]()
    for name in ("train.jsonl", "validation.jsonl"):
        path = data.parent / name
        for item in checked(read_jsonl(path)) if path.is_file() else ():
            if isinstance(item, LocatedRow):
                trained.update(map(question_key, questions(item.row)))
    if not trained:
        return []
    return [number for number, row in enumerate(rows) if question_key(_first_question(row)) in trained]


def _first_question(row: Row) -> str:
    match row:
        case {"chat_history": [{"inputs": {"question": str(first)}}, *_]} | {"question": str(first)}:
            return first
    return ""
