"""The data of a run, a file or a folder, read twice: once to check and name every line, once to run them.

Between the two only what cannot be read again is kept: eight bytes a line, which tell whether it is still the same, and
the names of lines that stand in the file more than once.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.flows.column_mapping import count_stated
from phi3flow.storage.data_files import parse_encoded, read_data, read_encoded, unchanged_data
from phi3flow.storage.jsonl import line_id, parse_row, repeated_line_id, with_line_ids

_NUMBERED = re.compile(r"#\d+\Z")
_BUCKETS = 256
_CHANGED = (
    "the data changed while the run went on; what was answered is kept. Put the data back and give the same command "
    "again, or run the new data with --fresh or another --name"
)


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

    ``stated`` has any line's columns, with in how many of the lines to run they are not null. ``hashes`` are those
    of the lines to run, as this process makes them.
    """

    path: Path
    lines: int
    repeats: int
    stated: dict[str, int]
    sha256: str
    line_ids: dict[int, str]
    hashes: array[int] = field(repr=False, compare=False)

    @classmethod
    def scan(cls, path: Path, *, limit: int | None = None, repeats: int = 1) -> DataLines:
        """Read all of it before anything is sent. Raises DatasetError with file:line for what does not parse."""
        with unchanged_data(path) as sha256:
            stated: dict[str, int] = {}
            hashes, names = array("q"), [array("Q") for _ in range(_BUCKETS)]
            total = 0
            some_numbered = False
            for place, encoded in read_encoded(path):
                row = parse_encoded(place, encoded)
                total += 1
                runs = limit is None or total <= limit
                count_stated(stated, row if runs else dict.fromkeys(row))
                if runs:
                    hashes.append(hash(encoded))
                identity = line_id(row)
                some_numbered = some_numbered or bool(_NUMBERED.search(identity))
                hashed = _hash(identity.encode())
                names[hashed % _BUCKETS].append(hashed)
            if not total:
                raise DatasetError(f"{path}: has no lines")
            repeated = set[int]().union(*map(_repeated, names))
            line_ids = _renamed(path, repeated) if repeated or some_numbered else {}
        return cls(path, min(total, limit or total), repeats, stated, sha256, line_ids, hashes)

    @property
    def total(self) -> int:
        """How many lines the run has."""
        return self.lines * self.repeats

    def __iter__(self) -> Iterator[DataLine]:
        """Yield the lines to run, in the order of the file, then all of them again.

        Raises DatasetError for the first that is not what it was when it was checked.
        """
        for repeat in range(self.repeats):
            for number, row in self._read_again():
                own = self.line_ids.get(number)
                if repeat:
                    own = repeated_line_id(own or line_id(parse_row(row)), repeat)
                yield DataLine(repeat * self.lines + number, row, own)

    def _read_again(self) -> Iterator[tuple[int, bytes]]:
        rows = read_encoded(self.path)
        for number in range(self.lines):
            try:
                place, row = next(rows)
            except (DatasetError, StopIteration) as error:
                reason = str(error) or f"{self.path}: has {number:,} of its {self.lines:,} lines left"
                raise DatasetError(f"{reason}: {_CHANGED}") from error
            if hash(row) != self.hashes[number]:
                raise DatasetError(f"{place}: {_CHANGED}")
            yield number, row


def _hash(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest())


def _repeated(values: array[int]) -> set[int]:
    if len(set(values)) == len(values):
        return set()
    return {value for value, count in Counter(values).items() if count > 1}


def _renamed(path: Path, repeated: set[int]) -> dict[int, str]:
    """Return the names of the lines whose own would not be theirs alone, by line_number."""
    doubtful = [
        (number, row)
        for number, (_, row) in enumerate(read_data(path))
        if _hash(line_id(row).encode()) in repeated or _NUMBERED.search(line_id(row))
    ]
    named = with_line_ids(row for _, row in doubtful)
    return {
        number: unique for (number, row), (unique, _) in zip(doubtful, named, strict=True) if unique != line_id(row)
    }
