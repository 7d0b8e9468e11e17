"""JSON files: one array of objects, or JSON Lines by another name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import parse_row, read_lines
from phi3flow.storage.opened import decode_utf8, raw_lines
from phi3flow.text import shorten

_SHOWN_CHARACTERS = 200
_SPACE = re.compile(r"[ \t\r\n]*")
_PAST_VALUE = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


def read_json(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line from 1 on which it begins, bytes of an element) of an array; of JSON Lines, what ``read_lines`` does.

    Raises DatasetError "file:line: reason" for an array that is no JSON, and for one object alone: it may be a row, or
    a table by columns.
    """
    first = next((raw for _, raw in read_lines(path)), b"")
    if first.lstrip().startswith(b"["):
        yield from _elements(_Cursor(path))
        return
    _refuse_single_object(path)
    yield from read_lines(path)


def _elements(cursor: _Cursor) -> Iterator[tuple[int, bytes]]:
    cursor.move(1)
    more = not cursor.is_at("]")
    while more:
        yield cursor.value()
        more = cursor.is_at(",")
        if not more and not cursor.is_at("]"):
            raise cursor.refusal("not JSON (a comma or ] is due)")
        cursor.move(1 if more else 0)
    cursor.move(1)
    if not cursor.is_at(""):
        raise cursor.refusal("text after the end of the array")


class _Cursor:
    """A place in a file's text, which is never before a space, and the line that it is on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = _read_text(path)
        self._position = 0
        self._line = 1
        self.move(0)

    def is_at(self, character: str) -> bool:
        """Whether the character is next; of none, whether the text has ended."""
        return self._text[self._position : self._position + 1] == character

    def move(self, characters: int) -> None:
        """Go past so many characters, and the spaces after them."""
        space = _SPACE.match(self._text, self._position + characters)
        position = space.end() if space else len(self._text)
        self._line += self._text.count("\n", self._position, position)
        self._position = position

    def value(self) -> tuple[int, bytes]:
        """Go past the value that begins here, and return its line and its bytes."""
        start, line = self._position, self._line
        try:
            _, end = _PAST_VALUE(self._text, start)
        except json.JSONDecodeError as error:
            line += self._text.count("\n", start, error.pos)
            raise DatasetError(f"{self._path}:{line}: not JSON ({error.msg}): {self._rest(error.pos)}") from error
        except RecursionError as error:
            raise self.refusal(f"not JSON ({error})") from error
        self.move(end - start)
        return line, self._text[start:end].encode()

    def refusal(self, reason: str) -> DatasetError:
        """Return the error that names this place."""
        return DatasetError(f"{self._path}:{self._line}: {reason}: {self._rest(self._position)}")

    def _rest(self, position: int) -> str:
        return shorten(self._text[position : position + _SHOWN_CHARACTERS]) or "the file ends here"


def _read_text(path: Path) -> str:
    """Return the whole text. Raises DatasetError "file:line: reason" where it is not UTF-8."""
    texts = []
    for number, raw in raw_lines(path):
        try:
            texts.append(decode_utf8(raw))
        except ValueError as error:
            raise DatasetError(f"{path}:{number}: {error}") from error
    return "".join(texts)


def _refuse_single_object(path: Path) -> None:
    lines = [raw for _, raw in islice(read_lines(path), 2)]
    if not lines or (len(lines) > 1 and _is_object(lines[0])):
        return
    if _is_object(lines[0]) or _is_object(_read_text(path).encode()):
        raise DatasetError(
            f"{path}:1: one JSON object, not an array of them: write the rows as [{{…}}, …], or each on a line of its "
            f"own in a file that ends in .jsonl: {shorten(lines[0].decode(errors='replace'))}"
        )


def _is_object(raw: bytes) -> bool:
    try:
        parse_row(raw)
    except ValueError:
        return False
    return True
