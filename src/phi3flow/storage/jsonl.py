"""JSON Lines: read with file:line errors, write atomically, and name each row by its content.

A row is one JSON object a line. Reading accepts what editors and exporters leave behind (a byte-order mark,
CRLF, blank lines); writing always gives the same bytes for the same rows, so that hashes compare.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from phi3flow.errors import DatasetError
from phi3flow.storage.files import write_files
from phi3flow.storage.opened import decode_utf8, raw_lines
from phi3flow.text import shorten

_WHOLE = re.compile(r"-?\d+\.0+")

Row = dict[str, Any]
"""One line of the user's data: whatever JSON object stands there."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield (line number from 1, object) for every line that is not blank.

    Raises DatasetError "file:line: reason: value…" for the first line that is not a JSON object in UTF-8.
    """
    for line_number, raw in read_lines(path):
        try:
            yield line_number, parse_row(raw)
        except ValueError as error:
            raise DatasetError(f"{path}:{line_number}: {error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes without line end and byte-order mark) for every line not blank.

    Raises DatasetError where the file cannot be read, and where it is UTF-16.
    """
    for line_number, raw in raw_lines(path):
        if raw.strip():
            yield line_number, raw.rstrip(b"\r\n")


class WrittenFloat(float):
    """A number with its text in the file: 1.0 and 1.50 are 1 and 1.5 by value."""

    def __new__(cls, written: str) -> WrittenFloat:
        number = super().__new__(cls, finite_float(written))
        number.written = written
        return number

    written: str


def finite_float(text: str) -> float:
    """Return a number of JSON. Raises ValueError for one that no float can hold, as 1e999: it would become infinite."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{shorten(text)} is beyond what a number can be")
    return value


def parse_row(raw: bytes, *, parse_float: Callable[[str], float] = finite_float) -> Row:
    """Return the JSON object in one line. Raises ValueError "reason: value…" for anything else."""
    text = decode_utf8(raw)
    try:
        row = json.loads(text, parse_float=parse_float, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno}): {shorten(text)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error}): {shorten(text)}") from error
    if not isinstance(row, dict):
        raise ValueError(f"not a JSON object: {shorten(text)}")
    if "\\u" in text:
        _refuse_lone_surrogates(row, text)
    return row


def parse_json(text: str) -> Any:
    """Return what a text that stands in a row says as JSON. Raises ValueError for what is none, as NaN and 1e999."""
    return json.loads(text, parse_float=WrittenFloat, parse_constant=_refuse_constant)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one compact JSON object a line, atomically. Raises StorageError where the disk refuses."""
    write_files({path: encode_rows(rows)})


def encode_rows(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield each row as its line in a file: compact, UTF-8 as it is, ended by a newline."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def line_id(row: Row) -> str:
    """Return the row's own ``line_id`` (``identity``) if it has one, else the SHA-256 of its canonical JSON.

    Canonical: keys sorted, compact separators, characters as they are; the key order in the file has no say.
    """
    own = identity(row.get("line_id"))
    if own is not None:
        return own
    canonical = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def identity(value: Any) -> str | None:
    """Return a name by its value, as text: 7, 7.0 and "7" are one; None for what names nothing: null, blank, empty.

    Spreadsheets and tables make numbers of names, and floats of numbers where one is missing ("7.0" in a cell, too);
    white space around a text and its kind, what is invisible, and the form of accents are no part of a name. A list or
    an object ({"$oid": …}) is named by its JSON.
    """
    if isinstance(value, str):
        return _identity_of_text(value) or None
    if value in (None, [], {}):
        return None
    named = _by_value(value)
    return named if isinstance(named, str) else json.dumps(named, sort_keys=True, ensure_ascii=False)


def _identity_of_text(text: str) -> str:
    if not text.isascii():
        visible = "".join(character for character in text if unicodedata.category(character) != "Cf")
        text = unicodedata.normalize("NFC", visible)
    name = " ".join(text.split())
    return name.partition(".")[0] if name.endswith("0") and _WHOLE.fullmatch(name) else name


def _by_value(value: Any) -> Any:
    """Return a value whose JSON is that of each value that is the same."""
    if isinstance(value, dict):
        return {_identity_of_text(key): _by_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_value(item) for item in value]
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    return value if isinstance(value, bool | None) else _identity_of_text(str(value))


def repeated_line_id(identity: str, repeat: int) -> str:
    """Return the name of a line that runs again, ``repeat`` from 1."""
    return f"{identity}~{repeat + 1}"


def with_line_ids(rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Yield (line_id, row), each id once: the k-th row with the same id gets ``#k``, k from 2."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    for row in rows:
        name = line_id(row)
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        while unique in taken:
            seen[name] += 1
            unique = f"{name}#{seen[name]}"
        taken.add(unique)
        yield unique, row


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal. Raises DatasetError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_lone_surrogates(row: Row, text: str) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair, no character: {shorten(text)}") from error
