"""The pictures of lines, inside the page: those that the data and the answers give by path.

A path is followed only into the folder that it belongs to, and only to a file that is a picture by its first bytes: an
answer may name any file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3flow.records.images import OUTPUT_FOLDER, data_folder, image_paths
from phi3flow.records.lines import LineResult
from phi3flow.report.run_view import RunView

LARGEST_BYTES = 1_000_000
BUDGET_BYTES = 4_000_000
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


class Pictures:
    """Data URIs of pictures, each once, as long as there is room; others stand as paths in their texts."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._numbers: dict[Path, int | None] = {}
        self._room = BUDGET_BYTES

    def of_answer(self, run: RunView, line: LineResult) -> list[int]:
        """Return the numbers of the pictures in a line's outputs."""
        return self._of(line.outputs, run.folder, within=run.folder / OUTPUT_FOLDER)

    def of_inputs(self, run: RunView, line: LineResult) -> list[int]:
        """Return the numbers of the pictures in a line's inputs."""
        folder = data_folder(Path(run.manifest.data))
        return self._of(line.inputs, folder, within=folder)

    def _of(self, values: Mapping[str, Any] | None, folder: Path, *, within: Path) -> list[int]:
        numbers = (self._number(folder / path, within) for path in image_paths(values or {}))
        return [number for number in numbers if number is not None]

    def _number(self, path: Path, within: Path) -> int | None:
        if path not in self._numbers:
            uri = _data_uri(path, within)
            fits = uri is not None and len(uri) <= self._room
            self._numbers[path] = len(self.uris) if fits else None
            if uri is not None and fits:
                self._room -= len(uri)
                self.uris.append(uri)
        return self._numbers[path]


def _data_uri(path: Path, within: Path) -> str | None:
    """Return a picture as a data URI, None for what is none, too large, or elsewhere."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(within.resolve()) or real.stat().st_size > LARGEST_BYTES:
            return None
        content = real.read_bytes()
    except (OSError, ValueError, RuntimeError):
        return None
    kind = next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if kind else None
