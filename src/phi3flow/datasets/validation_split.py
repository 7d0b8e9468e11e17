"""A share of the chats to train on, kept apart to validate with: the same for every backend."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phi3flow.datasets.chat import first_question, read_chats
from phi3flow.datasets.splitting import tied_conversations
from phi3flow.errors import DatasetError
from phi3flow.storage.files import write_changed
from phi3flow.storage.jsonl import Row, file_sha256, read_lines
from phi3flow.text import plural, shorten


@dataclass(frozen=True)
class ValidationSplit:
    """The two files that chats were split into, and how many conversations each has."""

    train: Path
    validation: Path
    train_count: int
    validation_count: int


def split_validation(source: Path, *, share: float, seed: int, folder: Path) -> ValidationSplit:
    """Split a chat file, and write train.jsonl and validation.jsonl to a folder in ``folder`` of their own.

    The folder is named by what decides the split: the file's content, share and seed. Every line stays as it is
    written, in the order of the file. Files that are there already, as they would be, are left alone.
    Raises DatasetError for what is no chat, and where a side would stay empty.
    """
    rows = read_chats(source)
    held_out = set(held_out_rows(rows, share=share, seed=seed, source=source))
    key = hashlib.sha256(json.dumps([file_sha256(source), share, seed]).encode()).hexdigest()[:16]
    lines = [raw + b"\n" for _, raw in read_lines(source)]
    split = ValidationSplit(
        folder / key / "train.jsonl", folder / key / "validation.jsonl", len(rows) - len(held_out), len(held_out)
    )
    write_changed(
        {
            split.train: [line for number, line in enumerate(lines) if number not in held_out],
            split.validation: [line for number, line in enumerate(lines) if number in held_out],
        }
    )
    return split


def held_out_rows(rows: Sequence[Row], *, share: float, seed: int, source: Path) -> list[int]:
    """Return the numbers of the rows to validate with: ``share`` of them, as near as conversations that are tied allow.

    At least one conversation stands on either side, and the order of ``rows`` has no say in who goes where. Raises
    DatasetError where that cannot be.
    """
    groups = tied_conversations(rows, seed=seed)
    if len(groups) < 2:
        raise DatasetError(f"{source} cannot be split by {share:g}: {_untied(rows)}")
    target = min(max(1, round(share * len(rows))), len(rows) - 1)
    chosen: list[int] = []
    for group in groups:
        room = target - len(chosen)
        if len(group) < 2 * room and len(chosen) + len(group) < len(rows):  # nearer to the target than without it
            chosen += group
    return sorted(chosen) or min(groups, key=lambda group: len(group))


def _untied(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        return "it has 1 conversation, and a side would stay empty; add conversations, or give --validation"
    first, count = Counter(first_question(row) for row in rows).most_common(1)[0]
    begins = f" ({count:,} begin with {shorten(first)!r})" if count > 1 else ""
    return (
        f"its {plural(len(rows), 'conversation')} all share questions{begins} and must not be parted, so that a side "
        "would stay empty; add conversations, or give --validation"
    )
