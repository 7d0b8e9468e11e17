"""A file that is read as its bytes, whether they are packed by gzip or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

from phi3flow.errors import DatasetError
from phi3flow.text import shorten

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def is_packed(path: Path) -> bool:
    """Whether the file's name says that gzip packed it."""
    return path.suffix.lower() == ".gz"


@contextmanager
def open_data(path: Path) -> Iterator[GzipFile | BufferedReader]:
    """Open a file for reading, unpacked where its name ends in .gz.

    Raises DatasetError where it cannot be read, also while it is being read.
    """
    try:
        with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be unpacked, it is damaged or cut short: {error}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes with their line end) of a text without its byte-order mark.

    Raises DatasetError where it cannot be read, and where it is UTF-16.
    """
    with open_data(path) as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(_UTF_16_MARKS):
                raise DatasetError(f"{path}:1: UTF-16, not UTF-8: save the file as UTF-8")
            yield number, raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw


def decode_utf8(raw: bytes) -> str:
    """Return the text of a line. Raises ValueError that names the first byte which is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}: {shorten(repr(raw.rstrip())[2:-1])}") from error
