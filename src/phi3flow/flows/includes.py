"""additional_includes: files and folders from elsewhere that a flow is made of too, as ``pf`` puts them together.

A file comes into the flow's folder by its name, a folder with all that is in it; ``NAME.zip``, where there is a folder
NAME and no such file, is that folder, zipped. The user's folder stays as it is: a flow with includes runs in a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phi3flow.errors import FlowError
from phi3flow.temporary import temporary_folder

_LOG = logging.getLogger(__name__)
INCLUDES = "additional_includes"
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".git", ".venv", ".runs")


def included_files(folder: Path, definition: Mapping[str, Any], *, where: Path) -> dict[str, Path]:
    """Return what ``additional_includes`` brings into a flow's folder: by its name there, the file it is.

    A folder to zip stands for the archive. Raises FlowError, which begins with ``where``, for what is not there.
    """
    files: dict[str, Path] = {}
    items = definition.get(INCLUDES) or []
    if not isinstance(items, list):
        raise FlowError(f"{where}: {INCLUDES} must be a list of paths, not {items!r}")
    for item in items:
        source = Path(os.path.normpath(folder / str(item)))
        included = _included(source)
        if included is None:
            raise FlowError(f"{where}: {INCLUDES}: there is no file or folder {item}: {source}")
        if replaced := [name for name in included if name in files or (folder / name).is_file()]:
            _LOG.warning("warning: %s: %s: %s takes the place of %s", where, INCLUDES, item, ", ".join(replaced[:3]))
        files |= included
    return files


def _included(source: Path) -> dict[str, Path] | None:
    """Return what a path brings in, None where there is nothing; a link by the name of its target, as ``pf`` does."""
    name = source.resolve().name
    if source.is_dir():
        return {f"{name}/{file.relative_to(source).as_posix()}": file for file in _files_of(source)}
    if source.is_file():
        return {name: source}
    if source.suffix == ".zip" and source.with_suffix("").is_dir():
        return {source.name: source.with_suffix("")}
    return None


def include_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file's content, of a folder to zip over what is in it."""
    return {name: _digest(source) for name, source in files.items()}


def copy_includes(files: Mapping[str, Path], folder: Path, *, with_secrets: bool) -> None:
    """Put included files into a folder, over those of the same name; ``.env`` files only ``with_secrets``."""
    for name, source in files.items():
        target = folder / name
        if target.name.startswith(".env") and not with_secrets:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            _zip(source, target)
        else:
            target.unlink(missing_ok=True)
            shutil.copy2(source, target)


@contextlib.contextmanager
def whole_folder(folder: Path, files: Mapping[str, Path]) -> Iterator[Path]:
    """Give the folder that a flow runs in: its own, with includes a copy of it that holds them."""
    if not files:
        yield folder
        return
    with temporary_folder() as temporary:
        whole = temporary / folder.name
        shutil.copytree(folder, whole, ignore=_NOT_COPIED)
        copy_includes(files, whole, with_secrets=True)
        yield whole


def _digest(source: Path) -> str:
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in _files_of(source):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(os.fsencode(f"{file.relative_to(source).as_posix()}\0{content}\n"))
    return digest.hexdigest()


def _zip(source: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in (source, *_files_of(source)):
            archive.write(path, path.relative_to(source.parent))


def _files_of(folder: Path) -> list[Path]:
    """Return the files in a folder, behind links too, without Python's caches."""
    files: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        files += [Path(root, name) for name in names]
    return sorted(file for file in files if file.is_file())
