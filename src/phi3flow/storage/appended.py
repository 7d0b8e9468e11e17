"""JSON Lines that grow: a line is in the file as soon as it is appended, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from phi3flow.errors import StorageError

_BLOCK = 65536


class AppendedLines:
    """A file that lines are appended to, unbuffered, so that a kill loses at most the line being written.

    What the process or the machine was writing when it died is cut off as the file is opened: last lines that are not
    whole, or not JSON; of a file that is not ``of_json`` nothing is. Raises StorageError where the disk refuses.
    """

    def __init__(self, path: Path, *, of_json: bool = True) -> None:
        self.path = path
        if of_json:
            repair_tail(path)
        self._file: Any = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def append(self, content: bytes) -> None:
        """Append one or more lines, each with its end. What the disk refuses leaves no torn line behind."""
        written = 0
        try:
            while written < len(content):
                written += self._file.write(content[written:] if written else content)
        except OSError as error:
            self._file.truncate(self._end)
            raise _refusal(self.path, error) from error
        self._end += written

    def reopen(self) -> None:
        """Go on in the file that has taken the place of this one."""
        self.close()
        self._file = self._open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> Any:
        try:
            file = self.path.open("ab", buffering=0)
            self._end = file.seek(0, os.SEEK_END)
            return file
        except OSError as error:
            raise _refusal(self.path, error) from error


def _refusal(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror}; what was done so far is kept: make room and give the same "
        "command again"
    )


def repair_tail(path: Path) -> None:
    """Cut off last lines that are not whole, or not JSON."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = _start_of_last_line(file, end)
            file.seek(start)
            line = file.read(end - start)
            if line.endswith(b"\n") and _is_object(line):
                break
            end = start
        file.truncate(end)


def _start_of_last_line(file: BinaryIO, end: int) -> int:
    """Return where the line begins whose last byte stands before ``end``."""
    position = end - 1
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
