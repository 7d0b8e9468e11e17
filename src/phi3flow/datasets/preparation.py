"""Write a dataset: train, validation, test, its evaluation lines, and the card that says what they are."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phi3flow.datasets.card import DataCard, Duplicates, FileFacts, Leakage, SplitFacts
from phi3flow.datasets.chat import Breach, LocatedRow, checked, evaluation_lines, questions, refuse
from phi3flow.datasets.splitting import (
    Splits,
    deduplicate,
    question_key,
    shared_questions,
    split_conversations,
)
from phi3flow.errors import DatasetError
from phi3flow.storage.files import write_files
from phi3flow.storage.jsonl import Row, encode_rows

CARD_FILE = "data_card.json"


def prepare(
    conversations: Iterable[LocatedRow | Breach],
    *,
    source: dict[str, Any],
    out: Path,
    ratios: Sequence[float],
    seed: int,
    skip_malformed: bool = False,
    last_turn_only: bool = False,
) -> DataCard:
    """Check, deduplicate, split and write conversations; return the card that was written beside them.

    ``source`` says in the card where they come from. Raises DatasetError that lists every malformed row, unless
    they are to be skipped; then nothing is written.
    """
    rows: list[Row] = []
    wrong: list[Breach] = []
    for item in checked(conversations):
        if isinstance(item, LocatedRow):
            rows.append(item.row)
        else:
            wrong.append(item)
    if wrong and not skip_malformed:
        refuse(wrong)
    if not rows:
        raise DatasetError("there is no conversation in the input")
    left = deduplicate(rows)
    return write_dataset(
        split_conversations(left.rows, ratios=ratios, seed=seed),
        out=out,
        source=source,
        seed=seed,
        ratios=list(ratios),
        duplicates=Duplicates(exact=left.exact, normalised=left.normalised),
        malformed=len({(breach.source, breach.line) for breach in wrong}),
        last_turn_only=last_turn_only,
        versions={name: importlib.metadata.version(name) for name in ("phi3flow", "datasets", "pyarrow")},
    )


def write_dataset(
    splits: Splits,
    *,
    out: Path,
    source: dict[str, Any],
    seed: int,
    ratios: list[float] | None = None,
    duplicates: Duplicates | None = None,
    malformed: int = 0,
    last_turn_only: bool = False,
    versions: dict[str, str] | None = None,
) -> DataCard:
    """Write the splits, ``test_lines.jsonl`` and ``data_card.json`` into ``out``: all of them or none.

    A test line whose question, a later turn, also stands in train or validation is left out and counted.
    Raises DatasetError where a conversation leaks, or where the disk refuses.
    """
    shared = shared_questions(splits)
    lines = list(evaluation_lines(splits.test, last_turn_only=last_turn_only))
    kept = [line for line in lines if question_key(line["question"]) not in shared]
    contents = {f"{name}.jsonl": list(encode_rows(rows)) for name, rows in splits.items()}
    contents["test_lines.jsonl"] = list(encode_rows(kept))
    card = DataCard(
        source=source,
        seed=seed,
        ratios=ratios,
        duplicates_removed=duplicates,
        malformed_skipped=malformed,
        splits={name: _split_facts(rows) for name, rows in splits.items()},
        files={name: _file_facts(encoded) for name, encoded in contents.items()},
        leakage=Leakage(
            questions_compared={name: len(_keys(rows)) for name, rows in splits.items()},
            test_lines_left_out=len(lines) - len(kept),
        ),
        versions=versions or {},
    )
    files: dict[Path, Iterable[bytes]] = {out / name: encoded for name, encoded in contents.items()}
    write_files(files | {out / CARD_FILE: [card.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"]})
    return card


def _keys(rows: Iterable[Row]) -> set[str]:
    return {question_key(question) for row in rows for question in questions(row)}


def _split_facts(rows: Sequence[Row]) -> SplitFacts:
    return SplitFacts(
        conversations=len(rows),
        turns=sum(len(questions(row)) for row in rows),
        multi_turn=sum(len(questions(row)) > 1 for row in rows),
        with_system=sum(row["messages"][0]["role"] == "system" for row in rows),
    )


def _file_facts(encoded: Sequence[bytes]) -> FileFacts:
    content = hashlib.sha256()
    for line in encoded:
        content.update(line)
    return FileFacts(rows=len(encoded), size_bytes=sum(map(len, encoded)), sha256=content.hexdigest())
