"""Files are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi3flow.errors import StorageError
from phi3flow.storage.files import write_file, write_files


def test_a_failed_write_changes_no_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def breaks() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    old = tmp_path / "old.jsonl"
    old.write_bytes(b"old")
    with pytest.raises(StorageError, match=r"b\.jsonl cannot be written: No space left on device; what"):
        write_files({old: [b"new"], tmp_path / "b.jsonl": breaks()})
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_cannot_be_made_is_an_error_and_missing_ones_are_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_file(tmp_path / "file" / "one", b"")
    write_file(tmp_path / "new" / "folder" / "one", b"1")
    assert (tmp_path / "new" / "folder" / "one").read_bytes() == b"1"


def test_a_target_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be written"):
        write_file(tmp_path / "folder", b"1")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
