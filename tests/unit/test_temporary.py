"""Folders for temporary files go with their process: at its end, or with the next one where it was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from phi3flow.temporary import remove_left_folders, temporary_folder

HOLD = """
import sys
from phi3flow.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "file").write_text("kept as long as I live")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def _hold() -> tuple[subprocess.Popen[str], Path]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, Path(holder.stdout.readline().strip())


def test_a_folder_goes_when_it_is_left(temporary: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_holds_stays(temporary: Path) -> None:
    killed, left = _hold()
    living, held = _hold()
    killed.kill()
    killed.wait()
    assert left.is_dir()
    with temporary_folder() as folder:
        assert {path for path in temporary.iterdir() if path.is_dir()} == {held, folder}
    living.communicate()
    assert list(temporary.iterdir()) == []


def test_folders_that_are_nobodys_are_not_touched(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").write_text("the user's")
    (temporary / "phi3flow-notes").mkdir()
    (temporary / "phi3flow-link").symlink_to(elsewhere)
    (temporary / "phi3flow-link.lock").touch()
    (temporary / "phi3flow-odd").mkdir()
    (temporary / "phi3flow-odd.lock").symlink_to(elsewhere / "file")
    before = sorted(temporary.iterdir())
    remove_left_folders()
    assert sorted(temporary.iterdir()) == before
    assert (elsewhere / "file").read_text() == "the user's"


def test_many_processes_at_once_take_nothing_from_each_other(temporary: Path) -> None:
    holders = [_hold() for _ in range(8)]
    assert all((folder / "file").is_file() for _, folder in holders)
    for holder, _ in holders:
        holder.communicate()
    assert list(temporary.iterdir()) == []
