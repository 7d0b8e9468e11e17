"""What an open flow does to files: what it writes is its own and no change of the flow, what it reads belongs to it.

Python says which files are opened, renamed, removed or made, and which folders are listed (its audit events); what
another program or a library in C writes is seen as new in a folder of the flow after each line.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

from phi3flow.flows.definition import Flow
from phi3flow.flows.flow_files import is_outside, project_of
from phi3flow.flows.folder_files import is_hidden, is_tools
from phi3flow.flows.modules import is_installed, python_folders
from phi3flow.flows.own_files import OwnFiles, is_among, mark_of, read_own_files, record
from phi3flow.flows.source_names import read_source
from phi3flow.temporary import temporary_prefix

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_BESIDE_DATABASES = ("-journal", "-wal", "-shm")
_SOURCES = (".py", ".yaml", ".yml", ".prompty")
_TICK_NS = 50_000_000
_LISTING = ("<frozen os>", os.__file__, glob.__file__, pathlib.__file__.removesuffix("__init__.py"))
_watching: list[FolderWatch] = []


class FolderWatch:
    """Records what one open flow writes and reads, in its folder and in the project around it."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._folder = os.path.realpath(flow.folder)
        self._project = str(project_of(flow.folder))
        self._is_home = self._project == os.path.realpath(Path.home())  # what is hidden there is of other programs
        self._temporary = tempfile.gettempdir()  # not asked while files are opened: it opens some itself, under a lock
        self._installed = python_folders()
        self._copies = temporary_prefix()  # a flow with includes works in a copy of its folder
        own = read_own_files(flow.folder)
        self._wrote = dict(own.wrote.get(flow.fingerprint, {}))
        self._read = dict(own.read)
        self._passed: set[object] = set()
        self._databases: dict[str, tuple[int, int]] = {}
        folders = {Path(self._folder, name).parent for name in flow.files if not is_outside(name)}
        folders |= {outer for folder in folders for outer in folder.parents if Path(self._folder) in outer.parents}
        self._changed_ns = {path: _changed_ns(path) for path in {self._folder, *map(str, folders)}}
        self._there = {entry.path for path in self._changed_ns for entry in _entries(path)}
        self._lock = threading.RLock()

    def opened(self, path: Any, mode: Any, flags: Any) -> None:
        """A file is about to be opened."""
        if isinstance(flags, int) and flags & _WRITES:
            self.written(path)
        elif isinstance(path, str) and path.startswith(self._installed):  # a thousand modules, before the first line
            return
        elif path not in self._passed and not isinstance(path, int):
            self._passed.add(path)
            self._note_reading(_absolute(path))

    def listed(self, path: Any) -> None:
        """A folder is about to be listed; what comes into one of the project changes the flow that looks there."""
        if isinstance(path, int) or _is_pythons_own(sys._getframe(2)):
            return
        name = self._name(_absolute("." if path is None else path))
        if name is None or not name.startswith("../") or f"{name}/" in self._read:
            return
        with self._lock:
            own = read_own_files(self._flow.folder)
            self._read[f"{name}/"] = mark_of(self._flow.folder, f"{name}/", own)
            record(self._flow.folder, self._flow.fingerprint, "read", [(f"{name}/", self._read[f"{name}/"])])

    def made_folder(self, path: Any, mode: Any, folder_fd: int) -> None:
        """A folder is about to be made; one that is there already will not be."""
        if not Path(whole := _absolute(path, folder_fd)).is_dir():
            self._note_writing(whole, end="/")

    def written(self, path: Any, folder_fd: int = -1) -> None:
        """A file is about to be written, renamed or removed."""
        if not isinstance(path, int):
            self._note_writing(_absolute(path, folder_fd))

    def connected(self, database: Any) -> None:
        """A database of SQLite is about to be opened, to be read, as far as anybody knows."""
        path = _absolute(os.fsdecode(database).removeprefix("file:").partition("?")[0])
        if Path(path).is_file():
            self._databases.setdefault(path, _state(path))
        elif ":memory:" not in path:
            self._note_writing(path)
        for end in _BESIDE_DATABASES:  # SQLite's own, seen by nobody, and left there where the process is killed
            self._note_writing(path + end)

    def look_around(self) -> None:
        """See what came into the flow's folders, and which databases were written, since this was done last."""
        for path, before in list(self._databases.items()):
            if _state(path) != before:
                del self._databases[path]
                self._note_writing(path)
        for folder, changed_ns in self._changed_ns.items():
            if (now_ns := _changed_ns(folder)) != changed_ns or not now_ns:
                self._changed_ns[folder] = now_ns
                for entry in _entries(folder):
                    if entry.path not in self._there and (name := self._name(entry.path)):
                        self._there.add(entry.path)
                        self._add_written({name + "/" * entry.is_dir(): self._flow.files.get(name)})

    def _note_writing(self, path: str, end: str = "") -> None:
        name = self._name(path) or self._name_elsewhere(path)
        if name is None:
            return
        below: dict[str, str | None] = {
            file: was for file, was in self._flow.files.items() if file == name or file.startswith(name + "/")
        }
        self._add_written(below or {name + end: None})

    def _add_written(self, files: dict[str, str | None]) -> None:
        with self._lock:
            new = {name: was for name, was in files.items() if not is_among(name, self._wrote)}
            self._wrote.update(new)
            record(self._flow.folder, self._flow.fingerprint, "wrote", new.items())

    def _note_reading(self, path: str) -> None:
        self._passed.add(path)  # to take its SHA-256 is to open it
        if is_installed(path):
            return
        if path.endswith(".pyc"):
            with contextlib.suppress(ValueError):
                path = source_from_cache(path)
                self._passed.add(path)
        name = self._name(path, of_code=path.endswith(".py"))
        if name is None or name in self._flow.files or name in self._read or not Path(path).is_file():
            return
        with self._lock:
            self._wrote.update(read_own_files(self._flow.folder).wrote.get(self._flow.fingerprint, {}))  # by others
            if not is_among(name, self._wrote) and not self._is_imported(path):
                self._read[name] = mark_of(self._flow.folder, name, OwnFiles())
                record(self._flow.folder, self._flow.fingerprint, "read", [(name, self._read[name])])

    def _is_imported(self, path: str) -> bool:
        """Whether a file outside is one of the flow's files, named after where it is imported from."""
        return any(name.startswith("<import>/") and path.endswith(name[8:]) for name in self._flow.files)

    def _name(self, path: str, *, of_code: bool = False) -> str | None:
        """Return a path as the flow's files are named; None for a tool's, a copy's, or one outside of the project."""
        if path.startswith(self._copies):
            return None
        for folder in (str(self._flow.folder), self._folder):
            if path.startswith(folder + os.sep):
                name = path[len(folder) + 1 :].replace(os.sep, "/")
                return None if is_tools(name) else name
        is_temporary = path.startswith(self._temporary + os.sep)
        if not path.startswith(self._project + os.sep) and (is_temporary or not of_code):
            return None
        name = os.path.relpath(path, self._folder).replace(os.sep, "/")
        return None if is_tools(name) or (self._is_home and is_hidden(name)) else name

    @cached_property
    def _said(self) -> bytes:
        """What the flow's sources say; read once something outside of the project is written."""
        sources = (name for name in self._flow.files if name.endswith(_SOURCES) and not is_outside(name))
        return b"\n".join(read_source(self._flow.folder / name) for name in sources)

    def _name_elsewhere(self, path: str) -> str | None:
        """Return the path of a file outside of the project that a source names: once it is there, it is the flow's."""
        is_in_copy = path.startswith(self._copies)
        return path if not is_in_copy and os.fsencode(os.path.basename(path)) in self._said else None  # noqa: PTH119


def _renamed(watch: FolderWatch, source: Any, target: Any, source_fd: int, target_fd: int) -> None:
    watch.written(source, source_fd)
    watch.written(target, target_fd)


_SEEN: dict[str, Callable[..., None]] = {  # what Python tells of each: docs.python.org/3/library/audit_events.html
    "open": FolderWatch.opened,
    "os.listdir": FolderWatch.listed,
    "os.scandir": FolderWatch.listed,
    "os.mkdir": FolderWatch.made_folder,
    "os.rename": _renamed,
    "os.remove": FolderWatch.written,
    "os.truncate": lambda watch, path, _: watch.written(path),
    "os.link": lambda watch, _, target, __, folder_fd: watch.written(target, folder_fd),
    "os.symlink": lambda watch, _, target, folder_fd: watch.written(target, folder_fd),
    "sqlite3.connect": FolderWatch.connected,
}


@contextlib.contextmanager
def watch_files(flow: Flow) -> Iterator[FolderWatch]:
    """Watch what this process does to files while the flow is open."""
    _begin_to_listen()
    watch = FolderWatch(flow)
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)
        watch.look_around()


@cache
def _begin_to_listen() -> None:
    sys.addaudithook(_listen)  # for good: Python takes none off again


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _SEEN:
        for watch in _watching:
            with contextlib.suppress(Exception):  # what is raised here would be raised in the flow
                _SEEN[event](watch, *arguments)


def _is_pythons_own(caller: FrameType) -> bool:
    """Whether Python, or an installed package, lists a folder for itself, as an import does: not on others' behalf."""
    file = caller.f_code.co_filename
    return not file.startswith(_LISTING) and (file.startswith("<frozen ") or is_installed(file))


def _absolute(path: str | bytes | os.PathLike[Any], folder_fd: int = -1) -> str:
    """Return a path as it is named, through links; what is relative to an open folder by the folder's own path."""
    folder = "" if folder_fd == -1 else f"/proc/self/fd/{folder_fd}"
    return os.path.abspath(Path(folder and os.readlink(folder), os.fsdecode(path)))  # noqa: PTH100, PTH115


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  # after every line, and Path takes three times as long
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _changed_ns(folder: str) -> int:
    """Return when a folder was changed; 0, which is seen as a change, where that may not have been the last."""
    changed_ns = _state(folder)[1]
    return changed_ns if time.time_ns() - changed_ns > _TICK_NS else 0
