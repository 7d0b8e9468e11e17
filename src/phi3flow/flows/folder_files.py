"""The files below a folder: through symbolic links, without what tools leave behind; and which of them git keeps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

DAG_FILE = "flow.dag.yaml"
FLEX_FILE = "flow.flex.yaml"
FLOW_FILES = (DAG_FILE, "flow.dag.yml", FLEX_FILE, "flow.flex.yml")
_TOOLS_FOLDERS = frozenset(
    {"__pycache__", ".git", ".hg", ".svn", ".venv", "node_modules", ".runs", ".phi3flow", ".ipynb_checkpoints"}
    | {".promptflow", "process_log"}  # pf's, the second for as long as a run of its own lasts
)
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")  # of a virtual environment, and of any cache (bford.info/cachedir)
_RUN = frozenset({"manifest.json", "results.jsonl"})


def is_tools(name: str) -> bool:
    """Whether a path, relative with slashes, is a tool's by its name: a cache, or a file with secrets (.env)."""
    *folders, file = name.split("/")
    return file.startswith(".env") or file.endswith((".pyc", ".pyo")) or not _TOOLS_FOLDERS.isdisjoint([*folders, file])


def is_hidden(name: str) -> bool:
    """Whether a path, relative with slashes, is hidden, or in a hidden folder."""
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def is_run(path: str) -> bool:
    """Whether a folder holds a run of phi3flow."""
    return all(os.path.exists(f"{path}{os.sep}{name}") for name in _RUN)  # noqa: PTH110


def walk(folder: Path) -> Iterator[str]:
    """Yield every file below ``folder``, relative with slashes, as it is named through symbolic links.

    Left out are tools' files, virtual environments, tagged caches, folders of runs, and a link to a folder that
    ``folder`` lies in. A folder that was walked through one link is not through a second: that is yielded itself.
    """
    real = os.path.realpath(folder)
    yield from _walk(str(folder), "", (real,), set())


def _walk(path: str, prefix: str, within: tuple[str, ...], linked: set[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    if prefix and (not names.isdisjoint(_MARKS) or names >= _RUN):
        return
    for entry in entries:
        name = prefix + entry.name
        if is_tools(name):
            continue
        if entry.is_file():
            yield name
        elif entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() else f"{within[-1]}{os.sep}{entry.name}"
            if any(_is_within(outer, real) for outer in within):
                continue
            if entry.is_symlink() and real in linked:
                yield name
            else:
                linked.update({real} if entry.is_symlink() else ())
                yield from _walk(entry.path, name + "/", (*within, real), linked)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def git_keeps(folder: Path) -> set[str] | None:
    """Return the files, links and nested repositories below ``folder`` that git does not ignore, relative.

    None where no git keeps the folder.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {name.rstrip("/") for name in os.fsdecode(listing).split("\0") if name} or None


def split_ignored(folder: Path) -> tuple[set[str], set[str]]:
    """Return the files below ``folder`` that git keeps and those that it ignores.

    All are kept where no git keeps the folder, or it ignores the flow's YAML.
    """
    names, kept = set(walk(folder)), git_keeps(folder)
    if kept is None or names.intersection(FLOW_FILES) - kept:
        return names, set()
    ignored = {name for name in names if name not in kept and not any(part in kept for part in _parents(name))}
    return names - ignored, ignored


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
