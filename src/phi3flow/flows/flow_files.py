"""Which files a flow is: those of its folder, and what of the project it imports or names."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from phi3flow.flows.folder_files import is_hidden, is_tools, split_ignored, walk
from phi3flow.flows.modules import Modules, is_installed
from phi3flow.flows.source_names import SourceNames, may_have_paths, read_names, read_source

_PLACEHOLDER = re.compile(r"\{[^}]*\}|%[sd]")
_SYSTEM = frozenset({"dev", "etc", "proc", "sys"})


def flow_files(folder: Path) -> list[Path]:
    """Return the files of a flow that lie in its folder, or behind a link in it, relative and sorted."""
    names = [name for name in followed_files(folder) if not is_outside(name)]
    linked = [f"{name}/{below}" for name in names if (folder / name).is_dir() for below in walk(folder / name)]
    return sorted(Path(name) for name in [*names, *linked] if (folder / name).is_file())


def ignored_files(folder: Path) -> set[Path]:
    """Return the files of a flow's folder that git ignores, relative: pf copies none of them, and secrets may be in."""
    return {Path(name) for name in split_ignored(folder)[1]}


def followed_files(folder: Path, includes: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Return the files that a flow is, by a name that is the same on every machine.

    They are what git does not ignore in the folder, all of it where there is no git; what it ignores that a source
    imports or names in a text; and, outside, what a source imports that is neither Python's own nor installed, and
    what it names by a path. Names are relative to the folder, or ``<import>/`` and where the module is imported from.
    ``includes`` are files that run in the folder, by their names there; they are ``<include>/`` and that name.
    """
    return _Follower(folder, includes or {}).follow()


def is_outside(name: str) -> bool:
    """Whether a file of ``followed_files`` lies outside the flow's folder."""
    return name.startswith(("../", "<import>/", "<include>/", "/"))


def project_of(folder: Path) -> Path:
    """Return the folder of the project: the nearest above that git keeps, else the one that the flow's lies in."""
    real = folder.resolve()
    return next((outer for outer in (real, *real.parents) if (outer / ".git").exists()), real.parent)


class _Mentions:
    """The words that sources say, by which they may mean a file that git ignores."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._globs: set[str] = set()

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            pattern = _PLACEHOLDER.sub("*", text)
            self._globs.update([pattern] if any(sign in pattern for sign in "*?[") and len(pattern) < 100 else ())
            self._words.update(re.split(r"[/\\]", text))
        self._words -= {"", ".", ".."}

    def mean(self, name: str) -> bool:
        """Whether a file is meant: by a part of its name, its suffix, or a glob."""
        parts = name.split("/")
        file = parts[-1]
        endings = (file[place:] for place, sign in enumerate(file) if sign == ".")
        words = {*parts, file.partition(".")[0], file.rpartition(".")[0], *endings}
        return not words.isdisjoint(self._words) or any(
            fnmatch.fnmatch(name, glob) or fnmatch.fnmatch(file, glob) for glob in self._globs
        )


class _Follower:
    """Goes from source to source until nothing new is imported or named.

    A source is parsed only where something may come of it: Python's parser takes a millisecond for each.
    """

    def __init__(self, folder: Path, includes: Mapping[str, Path]) -> None:
        self._folder = folder.resolve()
        self._project = project_of(self._folder)
        self._is_home = self._project == Path.home().resolve()  # what is hidden there is of other programs
        kept, self._unmentioned = split_ignored(self._folder)
        self._files = {name: self._folder / name for name in kept}
        self._files |= {f"<include>/{name}": path for name, path in includes.items()}
        self._bases: dict[str, Path] = {}  # of a file that is imported from elsewhere: what its name is relative to
        self._mentions = _Mentions()
        self._modules = Modules()
        self._imports: set[str] = set()
        self._named_folders: dict[str, tuple[Path, str]] = {}  # files in folders outside that are named, by their names

    def follow(self) -> dict[str, Path]:
        unread, parsed = set(self._files), set[str]()
        while unread:
            before = self._extent()
            worth = self._is_worth_parsing()
            for name in sorted(unread):
                if (path := self._files[name]).is_file() and worth(name):
                    self._note(name, path, read_names(path, self._folder))
                    parsed.add(name)
            self._import_all()
            self._add_mentioned()
            unread = set(self._files) - parsed if self._extent() != before else set()
        return self._files

    def _extent(self) -> tuple[int, ...]:
        return len(self._files), len(self._modules.search), len(self._named_folders)

    def _is_worth_parsing(self) -> Callable[[str], bool]:
        if self._unmentioned or self._named_folders:
            return lambda name: True
        is_imported = self._modules.may_be_imported()

        def is_worth(name: str) -> bool:
            if name in self._bases:
                return True
            content = read_source(self._files[name])
            return may_have_paths(content) or (name.endswith(".py") and is_imported.search(content) is not None)

        return is_worth

    def _note(self, name: str, path: Path, said: SourceNames) -> None:
        self._mentions.add(said.texts)
        self._mentions.add(part for dotted in said.imports for part in dotted.split("."))
        base = self._bases.get(name)
        for dotted in said.imports:
            if not dotted.startswith("."):
                self._imports.add(dotted)
            elif base is not None:
                self._import_relative(dotted, path, base)
        for text in said.paths:
            self._name_path(text, base)

    def _add_mentioned(self) -> None:
        for name in filter(self._mentions.mean, list(self._unmentioned)):
            self._unmentioned.discard(name)
            self._files[name] = self._folder / name
        for name, (folder, below) in self._named_folders.items():
            if self._mentions.mean(below):
                self._files.setdefault(name, folder / below)

    def _name_path(self, text: str, base: Path | None) -> None:
        path = Path(os.path.normpath(self._folder / text))
        if self._folder in (path, *path.parents) or path in self._folder.parents:
            self._modules.search.update({path: None} if path.is_dir() else {})
        elif is_tools(self._relative(path)) or (self._is_home and is_hidden(self._relative(path))):
            return
        elif path.is_file() and not is_installed(str(path)) and path.parts[1] not in _SYSTEM:
            self._files.setdefault(self._name_outside(path, text, base), path)
        elif path not in self._modules.search and path.is_dir():
            self._modules.search[path] = None
            if self._project in path.parents:
                for below in walk(path):
                    self._named_folders.setdefault(self._name_outside(path / below, text, base), (path, below))

    def _name_outside(self, path: Path, text: str, base: Path | None) -> str:
        if base is not None and base in path.parents:
            return f"<import>/{path.relative_to(base).as_posix()}"
        return str(path) if text.startswith("/") else self._relative(path)

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._folder)).as_posix()

    def _import_all(self) -> None:
        for dotted in self._imports:
            for path, base in self._modules.imported(dotted.split(".")):
                self._add_import(path, base)

    def _import_relative(self, dotted: str, path: Path, base: Path) -> None:
        level = len(dotted) - len(dotted.lstrip("."))
        package = path.parents[level - 1] if level <= len(path.parents) else path.parent
        for file in self._modules.files(package, [part for part in dotted.split(".") if part]):
            self._add_import(file, base)

    def _add_import(self, path: Path, base: Path) -> None:
        path = Path(os.path.normpath(path))
        inside = self._folder in path.parents
        name = self._relative(path) if inside else f"<import>/{path.relative_to(base).as_posix()}"
        if is_installed(str(path)) or is_tools(name) or name in self._files:
            return
        if not inside:
            self._bases[name] = base
        self._unmentioned.discard(name)
        self._files[name] = path
