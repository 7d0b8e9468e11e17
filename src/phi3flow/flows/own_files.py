"""What a flow wrote into its folder itself, and read besides its files: kept in the folder, so that it stays itself.

``.promptflow/phi3flow.jsonl`` has a line for each file: ``flow``, the fingerprint of the flow that ran; ``file``;
``was``, the file's SHA-256 when the run began (null: it was not there); ``did``, "wrote" or "read". What it listed is a
folder, with a slash at the end, and the SHA-256 of the names in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi3flow.flows.folder_files import is_run, is_tools

_RECORD = Path(".promptflow", "phi3flow.jsonl")
_LARGEST_HASHED = 1 << 26


@dataclass
class OwnFiles:
    """What flows of this folder did: ``wrote``, by the flow's fingerprint, has files and folders (with a slash at the
    end) as they were; ``read`` the files besides the flow's own, and the folders, as they were when first read.
    """

    wrote: dict[str, dict[str, str | None]] = field(default_factory=dict)
    read: dict[str, str | None] = field(default_factory=dict)


def digest_of(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over names and contents' SHA-256, as hex."""
    digest = hashlib.sha256()
    for name, content in sorted_files(files):
        digest.update(os.fsencode(f"{name}\0{content}\n"))
    return digest.hexdigest()


def sorted_files(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names and contents' SHA-256 in the order in which they are digested, folder by folder."""
    return sorted(files.items(), key=lambda file: file[0].split("/"))


def as_it_began(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Return the flow's files without what it wrote itself, with what it reads besides where that has changed.

    ``files`` are those of now. Where one of the flows that ran differs from them in nothing but what it wrote, they are
    returned as they were when it began; else as they are.
    """
    own = read_own_files(folder)
    now = dict(files)
    for name, was in own.read.items():
        if name not in now and (is_now := mark_of(folder, name, own)) != was:
            now[name] = str(is_now)
    for flow, wrote in reversed(own.wrote.items()):
        began = {name: content for name, content in now.items() if not is_among(name, wrote)}
        began |= {name: was for name, was in wrote.items() if was is not None}
        if digest_of(began) == flow:
            return began
    return now


def is_among(name: str, wrote: Mapping[str, Any]) -> bool:
    """Whether a file, or a folder that it lies in, was written."""
    if name in wrote:
        return True
    parts = name.split("/")
    return any("/".join(parts[:depth]) + "/" in wrote for depth in range(1, len(parts)))


def read_own_files(folder: Path) -> OwnFiles:
    """Return what is recorded; a torn or foreign line says nothing."""
    own = OwnFiles()
    try:
        lines = (folder / _RECORD).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return own
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            place = own.read if said["did"] == "read" else own.wrote.setdefault(said["flow"], {})
            place.setdefault(said["file"], said["was"])
    return own


def record(folder: Path, flow: str, did: str, files: Iterable[tuple[str, str | None]]) -> None:
    """Append lines, each whole; a folder that cannot be written is left as it is."""
    lines = [json.dumps({"flow": flow, "did": did, "file": name, "was": was}) + "\n" for name, was in files]
    if lines:
        with contextlib.suppress(OSError):
            (folder / _RECORD).parent.mkdir(exist_ok=True)
            with (folder / _RECORD).open("a", encoding="utf-8") as file:
                file.write("".join(lines))


def mark_of(folder: Path, name: str, own: OwnFiles) -> str | None:
    """Return what tells whether a file or a folder that a flow read has changed; None where it cannot be read."""
    path = folder / name
    return _listing_mark(path, name, own) if name.endswith("/") else _content_mark(path)


def _listing_mark(path: Path, name: str, own: OwnFiles) -> str | None:
    """Return the SHA-256 of the names in a folder, without hidden ones, tools', runs, and what a flow wrote there."""
    wrote = {file: None for files in own.wrote.values() for file in files}
    try:
        entries = [entry for entry in os.scandir(path) if not (entry.name.startswith(".") or is_tools(entry.name))]
    except OSError:
        return None
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries if not is_run(entry.path)]
    listed = sorted(entry for entry in names if not is_among(f"{name}{entry}", wrote))
    return hashlib.sha256(os.fsencode("\n".join(listed))).hexdigest()


def _content_mark(path: Path) -> str | None:
    """Return a file's SHA-256, of a large one size and time of change; None where it cannot be read."""
    try:
        status = path.stat()
        if status.st_size > _LARGEST_HASHED:
            return f"{status.st_size} bytes of {status.st_mtime_ns}"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
