"""Where a flow's modules come from, other than its folder: a path of Python's, or an editable installation."""

from __future__ import annotations

import importlib.machinery
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from phi3flow.flows.folder_files import FLOW_FILES

_SUFFIXES = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
_INSTALLED = re.compile(r"[/\\](site|dist)-packages([/\\]|$)|\.(egg|dist)-info[/\\]")  # or what is said of a package
_NOT_FOLLOWED = frozenset({"phi3flow", "promptflow", *sys.stdlib_module_names})


def is_installed(path: str) -> bool:
    """Whether a file is Python's own, phi3flow's, or of an installed package, wherever that lies."""
    return bool(_INSTALLED.search(path)) or path.startswith(python_folders())


class Modules:
    """Finds modules in folders, each of which is listed once."""

    def __init__(self) -> None:
        self.search = dict.fromkeys(_paths_of_imports())
        self._listed: dict[str, frozenset[str]] = {}

    def imported(self, parts: list[str]) -> Iterator[tuple[Path, Path]]:
        """Yield the files that an import of a dotted name may execute, and where it is imported from."""
        if parts[0] not in _NOT_FOLLOWED:
            for base in [*self.search, *_editable_bases(parts[0])]:
                yield from ((file, base) for file in self.files(base, parts))

    def files(self, base: Path, parts: list[str]) -> Iterator[Path]:
        """Yield the files below ``base`` that an import of a dotted name would execute, as far as they are there."""
        folder = str(base)
        for part in parts:
            names = self._names(folder)
            package = f"{folder}{os.sep}{part}"
            for suffix in _SUFFIXES:
                if f"{part}{suffix}" in names:
                    yield Path(f"{package}{suffix}")
                if part in names and f"__init__{suffix}" in self._names(package):
                    yield Path(package, f"__init__{suffix}")
            if part not in names:
                return
            folder = package

    def may_be_imported(self) -> re.Pattern[bytes]:
        """Return what finds, in a source, a word that names a module of ``search`` or of an editable installation."""
        names = {name.partition(".")[0] for folder in self.search for name in self._names(str(folder))}
        names.update(
            name for finder in _editable_finders() for name in getattr(sys.modules[finder.__module__], "MAPPING", ())
        )
        words = "|".join(re.escape(name) for name in sorted(names - _NOT_FOLLOWED) if name.isidentifier())
        return re.compile(rf"\b({words})\b".encode() if words else rb"(?!)")

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(entry.name for entry in os.scandir(folder))
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]


def _paths_of_imports() -> Iterable[Path]:
    """Yield where modules are imported from that are neither Python's own nor installed, in a flow's process."""
    entries = sys.path[0 if sys.flags.safe_path else 1 :]
    for entry in [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *entries]:
        path = Path(entry).absolute()
        holds_flow = any((path / name).exists() for name in FLOW_FILES)  # one that is open puts itself there
        if entry and path.is_dir() and not is_installed(str(path) + os.sep) and not holds_flow:
            yield path


def _editable_finders() -> list[Any]:
    """Return what finds the modules of editable installations that setuptools keeps a table of."""
    return [finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("__editable__")]


def _editable_bases(module: str) -> Iterator[Path]:
    for finder in _editable_finders():
        spec = finder.find_spec(module, None, None)
        if spec and spec.origin and (file := Path(spec.origin)).is_file():
            yield file.parents[1] if file.name.startswith("__init__.") else file.parent


@cache
def python_folders() -> tuple[str, ...]:
    """Return the folders of Python, of its environment's packages and of phi3flow, each with its separator."""
    paths = sysconfig.get_paths()
    ours = Path(__file__).parents[1]
    return tuple(f"{path}{os.sep}" for path in (paths["stdlib"], paths["platstdlib"], str(ours)))
