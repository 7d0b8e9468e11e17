"""Write a dataset: train, validation, test, its evaluation lines, and the card that says what they are."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from phi3flow.datasets.card import DataCard, Duplicates, FileFacts, Leakage, SplitFacts
from phi3flow.datasets.chat import Breach, LocatedRow, checked, is_learnt, questions, refuse
from phi3flow.datasets.evaluation import evaluation_lines
from phi3flow.datasets.splitting import (
    SPLITS,
    Deduplicated,
    Splits,
    deduplicate,
    question_key,
    shared_questions,
    split_conversations,
)
from phi3flow.errors import DatasetError
from phi3flow.storage.files import write_files
from phi3flow.storage.jsonl import Row, encode_rows, file_sha256

CARD_FILE = "data_card.json"
FILES = (*(f"{name}.jsonl" for name in SPLITS), "test_lines.jsonl")
"""What the card describes."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a dataset is written; ``overwrite`` replaces also files there that are not as they were written."""

    folder: Path
    overwrite: bool = False
    last_turn_only: bool = False


def prepare(
    conversations: Mapping[str, Iterable[LocatedRow | Breach]],
    *,
    source: dict[str, Any],
    output: Output,
    ratios: Sequence[float],
    seed: int,
    skip_malformed: bool = False,
    read_as: Mapping[str, Mapping[str, int]] | None = None,
) -> DataCard:
    """Check, deduplicate, split and write conversations; return the card that was written beside them.

    ``conversations`` come by split: those that are there stay as they are, and the others are drawn from train. Of
    ``ratios`` only train's and those of the drawn splits count. ``source`` says in the card where they come from,
    ``read_as``, read at the end, in which shape. Raises DatasetError that lists the malformed rows, unless they are to
    be skipped; then nothing is written.
    """
    refuse_foreign_files(output)
    rows, malformed = _sound_rows(conversations, skip_malformed=skip_malformed)
    left = {name: deduplicate(split) for name, split in rows.items()}
    drawn = [ratio if name == "train" or name not in left else 0.0 for name, ratio in zip(SPLITS, ratios, strict=True)]
    return write_dataset(
        _complete(left, ratios=drawn, seed=seed),
        output=output,
        source=source,
        seed=seed,
        ratios=drawn if len(left) < len(SPLITS) else None,
        duplicates=Duplicates(
            exact=sum(split.exact for split in left.values()),
            normalised=sum(split.normalised for split in left.values()),
        ),
        malformed=malformed,
        read_as=read_as,
        versions={name: importlib.metadata.version(name) for name in ("phi3flow", "datasets", "pyarrow")},
    )


def _sound_rows(
    conversations: Mapping[str, Iterable[LocatedRow | Breach]], *, skip_malformed: bool
) -> tuple[dict[str, list[Row]], int]:
    """Return the rows of each split, and the number of those that are malformed."""
    wrong: list[Breach] = []
    rows: dict[str, list[Row]] = {}
    for name, split in conversations.items():
        rows[name] = []
        for item in checked(split):
            if isinstance(item, LocatedRow):
                rows[name].append(item.row)
            else:
                wrong.append(item)
    if wrong and not skip_malformed:
        refuse(wrong, remedy="--skip-malformed leaves such rows out, and counts them")
    if not any(rows.values()):
        raise DatasetError("there is no conversation in the input")
    return rows, len({(breach.source, breach.line) for breach in wrong})


def _complete(left: Mapping[str, Deduplicated], *, ratios: Sequence[float], seed: int) -> Splits:
    """Return the splits that there are, and the others out of train's conversations."""
    splits = {name: split.rows for name, split in left.items()}
    if len(splits) < len(SPLITS):
        drawn = dict(split_conversations(splits["train"], ratios=ratios, seed=seed).items())
        splits = {**drawn, **splits, "train": drawn["train"]}
    return Splits(**splits)


def write_dataset(
    splits: Splits,
    *,
    output: Output,
    source: dict[str, Any],
    seed: int,
    ratios: list[float] | None = None,
    duplicates: Duplicates | None = None,
    malformed: int = 0,
    read_as: Mapping[str, Mapping[str, int]] | None = None,
    versions: dict[str, str] | None = None,
) -> DataCard:
    """Write the splits, ``test_lines.jsonl`` and ``data_card.json``: all of them or none.

    A test line whose question, a later turn, also stands in train or validation is left out and counted. Raises
    DatasetError where a conversation leaks or a file there is somebody's, StorageError where the disk refuses.
    """
    refuse_foreign_files(output)
    lines = _test_lines(splits, last_turn_only=output.last_turn_only)
    encoded = [list(encode_rows(rows)) for rows in (*(rows for _, rows in splits.items()), lines.kept)]
    contents = dict(zip(FILES, encoded, strict=True))
    compared = {name: len(_keys(rows)) for name, rows in splits.items()}
    card = DataCard(
        source=source,
        seed=seed,
        ratios=ratios,
        duplicates_removed=duplicates,
        malformed_skipped=malformed,
        read_as={name: dict(shapes) for name, shapes in read_as.items()} if read_as else None,
        columns_hidden=dict(lines.hidden) or None,
        test_answers_not_learnt=_not_learnt(splits.test) or None,
        splits={name: _split_facts(rows) for name, rows in splits.items()},
        files={name: _file_facts(encoded) for name, encoded in contents.items()},
        leakage=Leakage(questions_compared=compared, test_lines_left_out=lines.left_out),
        versions=versions or {},
    )
    files: dict[Path, Iterable[bytes]] = {output.folder / name: encoded for name, encoded in contents.items()}
    facts = card.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"
    write_files(files | {output.folder / CARD_FILE: [facts]})
    return card


@dataclass(frozen=True)
class _TestLines:
    """The evaluation lines of test, how many were left out, and the columns that gave way."""

    kept: list[Row]
    left_out: int
    hidden: Counter[str]


def _test_lines(splits: Splits, *, last_turn_only: bool) -> _TestLines:
    shared = shared_questions(splits)
    hidden = Counter[str]()
    lines = list(evaluation_lines(splits.test, last_turn_only=last_turn_only, hidden=hidden))
    kept = [line for line in lines if question_key(line["question"]) not in shared]
    return _TestLines(kept, len(lines) - len(kept), hidden)


def _not_learnt(rows: Iterable[Row]) -> int:
    answers = (message for row in rows for message in row["messages"] if message["role"] == "assistant")
    return sum(not is_learnt(answer) for answer in answers)


def refuse_foreign_files(output: Output) -> None:
    """Refuse to replace what this project did not write, or somebody has changed since: the data card tells.

    Raises DatasetError that names the files, unless they are to be replaced.
    """
    if output.overwrite:
        return
    card = _read_card(output.folder / CARD_FILE)
    foreign = [
        f"{path} {'has changed since prepare-data wrote it' if card else 'is not known to be from prepare-data'}"
        for name in (*FILES, CARD_FILE)
        if (path := output.folder / name).exists() and not _is_as_written(path, card)
    ]
    if foreign:
        raise DatasetError(f"{'; '.join(foreign)}. Nothing was written: --out another folder, or --overwrite")


def _read_card(path: Path) -> DataCard | None:
    try:
        return DataCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _is_as_written(path: Path, card: DataCard | None) -> bool:
    if card is None or path.name == CARD_FILE:
        return card is not None
    return path.name in card.files and card.files[path.name].sha256 == file_sha256(path)


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
