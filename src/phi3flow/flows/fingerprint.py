"""The fingerprint of a flow: the SHA-256 over what it executes and reads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.flows.flow_files import followed_files
from phi3flow.flows.includes import include_digests
from phi3flow.flows.own_files import as_it_began, digest_of

_DIGESTS = Path(".promptflow", "phi3flow-digests.json")
_LARGE = 1 << 24
_SETTLED_NS = 2_000_000_000


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of the flow's files, as hex: see ``fingerprinted_files``."""
    return digest_of(fingerprinted_files(folder))


def fingerprinted_files(folder: Path, includes: Mapping[str, Path] | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file that the flow is (``followed_files``), without what it wrote itself."""
    kept, known = _Digests(folder), {}
    for name, path in followed_files(folder, includes).items():
        with contextlib.suppress(OSError):
            known[name] = kept.digest(path)
    zipped = {f"<include>/{name}": path for name, path in (includes or {}).items() if path.is_dir()}
    known |= include_digests(zipped)
    kept.write()
    return as_it_began(folder, known)


class _Digests:
    """Digests; those of large files are kept beside the flow, for as long as the file is not touched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / _DIGESTS
        self._used: dict[str, Any] = {}

    def digest(self, path: Path) -> str:
        if path.is_dir():  # reached through a second link: its files count where the first leads
            target = os.path.relpath(os.path.realpath(path), os.path.realpath(self._folder))
            return hashlib.sha256(os.fsencode(target)).hexdigest()
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size < _LARGE:
                return hashlib.sha256(file.read()).hexdigest()
            state = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            before = self._kept.get(str(path), [])
            digest = before[-1] if before[:-1] == state else hashlib.file_digest(file, "sha256").hexdigest()
            if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
                self._used[str(path)] = [*state, digest]
            return str(digest)

    def write(self) -> None:
        if self._used and self._used != self._kept:
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(exist_ok=True)
                self._file.write_text(json.dumps(self._used), encoding="utf-8")

    @cached_property
    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}
