"""The data of a run, a file or a folder, read twice: once to check and name every line, once to run them.

Between the two only what cannot be read again is kept: eight bytes a line while checking, and the names of lines that
stand in the file more than once.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.flows.column_mapping import count_stated
from phi3flow.storage.data_files import data_sha256, read_data, read_encoded
from phi3flow.storage.jsonl import line_id, parse_row, repeated_line_id, with_line_ids

_NUMBERED = re.compile(r"#\d+\Z")
_BUCKETS = 256


@dataclass(frozen=True)
class DataLine:
    """A line to run: ``row`` as it stands in the file, or as JSON; ``line_id`` where it is not the row's own.

    ``history`` is what its chat history becomes, None where that is the row's; ``refused`` why it is not sent.
    """

    number: int
    row: bytes
    line_id: str | None
    history: list[dict[str, Any]] | None = None
    refused: str | None = None


@dataclass(frozen=True)
class DataLines:
    """Checked data: their first ``lines`` will run, ``repeats`` times.

    ``stated`` has any line's columns, with in how many of the lines to run they are not null.
    """

    path: Path
    lines: int
    repeats: int
    stated: dict[str, int]
    sha256: str
    line_ids: dict[int, str]

    @classmethod
    def scan(cls, path: Path, *, limit: int | None = None, repeats: int = 1) -> DataLines:
        """Read all of it before anything is sent. Raises DatasetError with file:line for what does not parse."""
        stated: dict[str, int] = {}
        hashes = [array("Q") for _ in range(_BUCKETS)]
        total = 0
        some_numbered = False
        for _, row in read_data(path):
            total += 1
            count_stated(stated, row if limit is None or total <= limit else dict.fromkeys(row))
            identity = line_id(row)
            some_numbered = some_numbered or bool(_NUMBERED.search(identity))
            hashed = _hash(identity)
            hashes[hashed % _BUCKETS].append(hashed)
        if not total:
            raise DatasetError(f"{path}: has no lines")
        repeated = set[int]().union(*map(_repeated, hashes))
        line_ids = _renamed(path, repeated) if repeated or some_numbered else {}
        return cls(path, min(total, limit or total), repeats, stated, data_sha256(path), line_ids)

    @property
    def total(self) -> int:
        """How many lines the run has."""
        return self.lines * self.repeats

    def __iter__(self) -> Iterator[DataLine]:
        """Yield the lines to run, in the order of the file, then all of them again."""
        for repeat in range(self.repeats):
            for number, (_, row) in enumerate(read_encoded(self.path)):
                if number == self.lines:
                    break
                own = self.line_ids.get(number)
                if repeat:
                    own = repeated_line_id(own or line_id(parse_row(row)), repeat)
                yield DataLine(repeat * self.lines + number, row, own)


def _hash(identity: str) -> int:
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest())


def _repeated(values: array[int]) -> set[int]:
    if len(set(values)) == len(values):
        return set()
    return {value for value, count in Counter(values).items() if count > 1}


def _renamed(path: Path, repeated: set[int]) -> dict[int, str]:
    """Return the names of the lines whose own would not be theirs alone, by line_number."""
    doubtful = [
        (number, row)
        for number, (_, row) in enumerate(read_data(path))
        if _hash(line_id(row)) in repeated or _NUMBERED.search(line_id(row))
    ]
    named = with_line_ids(row for _, row in doubtful)
    return {
        number: unique for (number, row), (unique, _) in zip(doubtful, named, strict=True) if unique != line_id(row)
    }
