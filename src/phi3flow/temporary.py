"""Folders for temporary files that do not outlive their process for long, however it ended.

Each stands beside a lock that its process holds as long as it lives; where the lock is free, the folder is nobody's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "phi3flow-"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a new folder, its path without links, and remove it afterwards; those that killed processes left go too."""
    remove_left_folders()
    folder = Path(f"{temporary_prefix()}{secrets.token_hex(8)}")
    held = _hold(_lock_of(folder))  # before there is a folder: one whose lock is free has lost its process
    assert held is not None
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        _remove(folder, held)


def temporary_prefix() -> str:
    """Return how the path of each such folder begins."""
    return str(Path(tempfile.gettempdir()).resolve() / _PREFIX)


def remove_left_folders() -> None:
    """Remove what processes of this user left that were killed; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_left(Path(entry.path))


def _remove_left(folder: Path) -> None:
    lock = _lock_of(folder)
    is_ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    if not is_ours or not stat.S_ISREG(lock.lstat().st_mode):
        return
    held = _hold(lock)
    if held is not None:
        _remove(folder, held)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _hold(lock: Path) -> int | None:
    """Return the file's descriptor once it is locked, None where another process holds it.

    By itself: filelock, which holds the other locks, takes 24 ms to import in every worker.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path, held: int) -> None:
    """Remove a folder, then its lock; where something in it stays, both do, for the next to try again."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(held)
        if not folder.exists():
            _lock_of(folder).unlink(missing_ok=True)
    finally:
        if sys.platform != "win32":
            os.close(held)
