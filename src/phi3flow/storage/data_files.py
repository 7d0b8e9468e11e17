"""The user's data, in whatever form it comes: JSON Lines, a JSON array, CSV, TSV, Parquet, a folder of these, gzip.

The form is what the name ends in, upper case or lower, before .gz; any other name is JSON Lines. Every form gives the
rows that JSON Lines of the same rows would give, each with its place, and a row's error names that place. An image is
beside its file: in the rows of a file further down in a folder its path becomes relative to the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from phi3flow.errors import DatasetError
from phi3flow.records.images import with_paths
from phi3flow.storage.delimited import read_csv, read_tsv
from phi3flow.storage.json_arrays import read_json
from phi3flow.storage.jsonl import Row, encode_rows, file_sha256, finite_float, parse_row, read_lines
from phi3flow.storage.opened import BYTE_ORDER_MARK, is_packed, open_data
from phi3flow.storage.parquet import read_parquet

_Reader = Callable[[Path], Iterator[tuple[int, bytes | Row | ValueError]]]
_FORMS: dict[str, _Reader] = {
    ".jsonl": read_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
_SNIFFED_BYTES = 64
_IMAGES = (b"data:image/", b"image_file")


class Place(NamedTuple):
    """Where a row stands: the file, and the line from 1 on which it begins (in Parquet: which row it is)."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read_data(path: Path) -> Iterator[tuple[Place, Row]]:
    """Yield each row of a file or folder, with its place.

    Raises DatasetError "file:line: reason: value…" for the first that is none.
    """
    for place, row in check_data(path):
        if isinstance(row, ValueError):
            raise DatasetError(f"{place}: {row}") from row
        yield place, row


def check_data(
    path: Path, *, parse_float: Callable[[str], float] = finite_float
) -> Iterator[tuple[Place, Row | ValueError]]:
    """Yield each row of a file or folder, or why it is none, with its place.

    ``parse_float`` makes the numbers of JSON. Raises DatasetError where a file cannot be read, or not any further.
    """
    for place, item in _read(path):
        yield place, _parsed(item, parse_float) if isinstance(item, bytes) else item


def read_encoded(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Yield each row as the bytes of a JSON object, with its place; of JSON they are as they stand, and unchecked."""
    for place, item in _read(path):
        if isinstance(item, ValueError):
            raise DatasetError(f"{place}: {item}") from item
        yield place, item if isinstance(item, bytes) else next(encode_rows([item])).rstrip(b"\n")


def parse_encoded(place: Place, encoded: bytes) -> Row:
    """Return the row that ``read_encoded`` gave. Raises DatasetError "file:line: reason: value…" where it is none."""
    try:
        return parse_row(encoded)
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error


def data_files(path: Path) -> list[Path]:
    """Return the files that hold the rows: the file itself, or those of a folder, in the order of their names.

    Of a folder they are those whose names end as data does, and others that begin as JSON Lines do; hidden ones are
    left out. Raises DatasetError for a folder without any.
    """
    if not path.is_dir():
        return [path]
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    hidden = {name for name in names if any(part.startswith(".") for part in name.parts)}
    files = [path / name for name in names if name not in hidden and is_data(path / name)]
    if not files:
        raise DatasetError(f"{path}: the folder holds no data: no file ends in {', '.join(_FORMS)} (or these and .gz)")
    return files


def is_data(file: Path) -> bool:
    """Whether a file's name ends as data does, or it begins as JSON Lines do."""
    if _form(file) in _FORMS:
        return True
    with open_data(file) as opened:
        return opened.read(_SNIFFED_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{")


def is_json_lines(file: Path) -> bool:
    """Whether a file is read as JSON Lines, by its name."""
    return _reader(file) is read_lines


def data_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, or that of the names and hashes of a folder's files."""
    if not path.is_dir():
        return file_sha256(path)
    listed = (f"{file_sha256(file)} {file.relative_to(path).as_posix()}\n" for file in data_files(path))
    return hashlib.sha256("".join(listed).encode()).hexdigest()


@contextmanager
def unchanged_data(path: Path) -> Iterator[str]:
    """Give the ``data_sha256`` of what is read meanwhile. Raises DatasetError where it changed in between."""
    before = data_sha256(path)
    try:
        yield before
    except DatasetError:
        refuse_changed(path, before)  # which is why it is damaged
        raise
    refuse_changed(path, before)


def refuse_changed(path: Path, sha256: str) -> None:
    """Raise DatasetError where data that were read have another ``data_sha256`` than they had."""
    if data_sha256(path) != sha256:
        raise DatasetError(f"{path}: changed while it was read: give the same command again")


def _read(path: Path) -> Iterator[tuple[Place, bytes | Row | ValueError]]:
    for file in data_files(path):
        below = file.parent.relative_to(path).as_posix() if path.is_dir() else "."
        for line, item in _reader(file)(file):
            yield Place(file, line), item if below == "." else _moved(item, below)


def _moved(item: bytes | Row | ValueError, below: str) -> bytes | Row | ValueError:
    """Return a row of a file in the folder ``below`` with its images' paths relative to the outer folder."""
    if isinstance(item, bytes):
        return item if not any(name in item for name in _IMAGES) else _moved(_parsed(item, finite_float), below)
    if isinstance(item, ValueError):
        return item
    moved: Row = with_paths(item, lambda path: f"{below}/{path}" if not Path(path).is_absolute() else path)
    return moved


def _reader(file: Path) -> _Reader:
    return _FORMS.get(_form(file), read_lines)


def _form(file: Path) -> str:
    return (file.with_suffix("") if is_packed(file) else file).suffix.lower()


def _parsed(raw: bytes, parse_float: Callable[[str], float]) -> Row | ValueError:
    try:
        return parse_row(raw, parse_float=parse_float)
    except ValueError as error:
        return error
