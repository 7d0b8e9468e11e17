"""What decides how a flow executes one line: all of it but its aggregation, which sees the lines when they are done."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phi3flow.flows.definition import Flow
from phi3flow.flows.flow_files import is_outside
from phi3flow.flows.own_files import sorted_files

_REQUIREMENTS = "requirements.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def line_fingerprint(flow: Flow) -> str:
    """Return the SHA-256 over what decides a line: files, definition, arguments, versions of what it requires.

    Of an aggregation node only the outputs that it wants count, and its source where another node or file uses that
    too. A flex flow, whose aggregation stands in its class, counts as a whole.
    """
    nodes = flow.definition.get("nodes") or []
    wanted = [value for node in nodes if node.get("aggregation") for value in (node.get("inputs") or {}).values()]
    definition = {**flow.definition, "nodes": [node for node in nodes if not node.get("aggregation")]}
    content = [definition, sorted(map(str, wanted)), flow.init, list(_versions(flow.folder))]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    own = _own_sources(flow.folder, nodes, _modules(flow))
    for name, file_digest in sorted_files(flow.files):
        if name != flow.file and Path(name) not in own:
            digest.update(os.fsencode(f"{name}\0{file_digest}\n"))
    return digest.hexdigest()


def _own_sources(folder: Path, nodes: list[dict[str, Any]], modules: list[Path]) -> set[Path]:
    """Return the files that the aggregation alone executes."""
    sources: dict[bool, set[Path]] = {True: set(), False: set()}
    for node in nodes:
        if path := (node.get("source") or {}).get("path"):
            sources[bool(node.get("aggregation"))].add(Path(path))
    return {source for source in sources[True] - sources[False] if not _is_imported(folder, source, modules)}


def _modules(flow: Flow) -> list[Path]:
    names = (Path(name) for name in flow.files if name.endswith(".py") and not is_outside(name))
    return [name for name in names if (flow.folder / name).is_file()]


def _is_imported(folder: Path, source: Path, modules: list[Path]) -> bool:
    named = re.compile(rf"(import|from)\b.*\b{re.escape(source.stem)}\b|[\"\']{re.escape(source.stem)}")
    return any(
        named.search((folder / module).read_text(encoding="utf-8", errors="replace"))
        for module in modules
        if module != source
    )


def _versions(folder: Path) -> Iterator[str]:
    """Yield name and version of each package that the flow requires and that is installed: a judge's prompts too."""
    file = folder / _REQUIREMENTS
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        if name := _NAME.match(line.strip()):
            try:
                yield f"{name.group()} {importlib.metadata.version(name.group())}"
            except importlib.metadata.PackageNotFoundError:
                continue
