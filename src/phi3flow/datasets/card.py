"""The data card: where a dataset comes from, how it was split, and what each file holds."""

from __future__ import annotations

from typing import Any

from phi3flow.records.record import Record


class SplitFacts(Record):
    """How many conversations and turns a split has, how many have several turns, how many a system message."""

    conversations: int
    turns: int
    multi_turn: int
    with_system: int


class FileFacts(Record):
    """A file's rows, size, and the SHA-256 of its bytes."""

    rows: int
    size_bytes: int
    sha256: str


class Duplicates(Record):
    """Conversations removed: ``exact`` equals another, ``normalised`` differs in case, spaces or marks only."""

    exact: int
    normalised: int


class Leakage(Record):
    """The proof that no split stands in another: the distinct questions compared, none of them first in two splits.

    ``test_lines_left_out`` have a later question ("thank you") that also stands in train or validation.
    """

    questions_compared: dict[str, int]
    test_lines_left_out: int


class DataCard(Record):
    """``data_card.json``, written beside the files that it describes; it has no time, so that runs compare.

    ``read_as`` counts the rows of each source by their shape; ``columns_hidden`` counts, by name, the test lines in
    which a row's own column gave way to the line's value; ``test_answers_not_learnt`` are the answers of weight 0 in
    test, which make no test line.
    """

    schema_version: int = 1
    source: dict[str, Any]
    seed: int
    ratios: list[float] | None = None
    duplicates_removed: Duplicates | None = None
    malformed_skipped: int = 0
    read_as: dict[str, dict[str, int]] | None = None
    columns_hidden: dict[str, int] | None = None
    test_answers_not_learnt: int | None = None
    splits: dict[str, SplitFacts]
    files: dict[str, FileFacts]
    leakage: Leakage
    versions: dict[str, str]
