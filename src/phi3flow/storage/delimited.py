"""CSV and tab-separated text: a header, then a row a record; every cell is text, as it is written.

No cell becomes a number or a date, for an identifier such as 007 would be another one then; the flow's input says what
a text is read as. An empty cell is a missing value, null.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.storage.opened import decode_utf8, raw_lines
from phi3flow.text import plural, shorten

_LONGEST_CELL = 2**31 - 1  # a whole conversation in a cell is longer than the module's 128 KiB
_QUOTED = re.compile(r'"[^"]*"')
_EXCELS_SEPARATOR = re.compile(r"sep=(.)[\r\n]*")


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """Yield (line from 1 on which a record begins, row) of a CSV file, or why a record is none.

    Its separator is a comma, or what stands more often in the header: a semicolon, as Excel writes in much of Europe,
    or a tab. Raises DatasetError "file:line: reason" for what leaves the rest of the file without a meaning.
    """
    return _read(path, None)


def read_tsv(path: Path) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """Yield what ``read_csv`` does of a file whose separator is a tab."""
    return _read(path, "\t")


def _read(path: Path, separator: str | None) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    csv.field_size_limit(_LONGEST_CELL)
    lines = _text_lines(path)
    first = _first_record(lines)
    if match := _EXCELS_SEPARATOR.fullmatch("".join(first)):
        separator, first = match[1], ["\n"]
    if separator is None:
        separator = _separator("".join(first))
    reader = csv.reader(itertools.chain(first, lines), delimiter=separator, strict=True)
    columns: list[str] = []
    for line, cells in _records(path, reader):
        if not columns:
            columns = _header(f"{path}:{line}", cells)
        elif len(cells) != len(columns):
            reason = f"{plural(len(cells), 'cell')} where the header has {plural(len(columns), 'column')}"
            yield line, ValueError(f"{reason}: {shorten(separator.join(cells))}")
        else:
            yield line, {name: cell or None for name, cell in zip(columns, cells, strict=True)}


def _text_lines(path: Path) -> Iterator[str]:
    for number, raw in raw_lines(path):
        try:
            text = decode_utf8(raw)
        except ValueError as error:
            raise DatasetError(f"{path}:{number}: {error} (save it as UTF-8; in Excel: CSV UTF-8)") from error
        yield from StringIO(text, newline="") if "\r" in text else [text]  # a lone one ends a line too


def _records(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        for cells in reader:
            if cells and not (len(cells) == 1 and cells[0].isspace()):  # else a blank line
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}:{line}: not CSV: {error}: the row that begins here has a stray quote") from error


def _first_record(lines: Iterator[str]) -> list[str]:
    """Return the lines as far as the end of the first record, which may hold line ends in quotes."""
    record: list[str] = []
    is_open = False
    for line in lines:
        record.append(line)
        is_open ^= line.count('"') % 2 == 1
        if line.strip() and not is_open:
            break
    return record


def _separator(header: str) -> str:
    unquoted = _QUOTED.sub("", header)
    return max(",;\t", key=unquoted.count)


def _header(place: str, names: list[str]) -> list[str]:
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise DatasetError(f"{place}: column {number} of {len(names)} has no name in the header")
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise DatasetError(f"{place}: two columns have the name {shorten(repeated)!r}: rename one")
    return names
