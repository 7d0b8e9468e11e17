"""Images in values, as promptflow writes them: ``{"data:image/png;path": "x.png"}``, or in the form of OpenAI's vision
``{"type": "image_file", "image_file": {"path": "x.png"}}``.

A path in data is beside the data's file; one in an answer is in the run's folder, where the image is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_PATH = re.compile(r"data:image/[^;]*;path")
_SUFFIX = re.compile(r"[a-z0-9]{1,8}")

OUTPUT_FOLDER = "flow_outputs"
"""Where a run keeps the images that its flow gives, as ``pf`` does."""


def image_path(value: object) -> str | None:
    """Return the path of an image that is given by one, None for any other value."""
    match value:
        case {"type": "image_file", "image_file": {"path": str(path)}}:
            return path
        case dict() if len(value) == 1:
            (key, path), *_ = value.items()
            return path if isinstance(path, str) and isinstance(key, str) and _PATH.fullmatch(key) else None
    return None


def located(value: Any, folder: Path) -> Any:
    """Return a value with the paths of its images absolute, those that are relative in ``folder``."""
    return with_paths(value, lambda path: str(folder / path))


def with_paths(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with the paths of its images changed, in lists and objects too."""
    path = image_path(value)
    if path is not None:
        if "image_file" in value:
            return {**value, "image_file": {**value["image_file"], "path": change(path)}}
        return dict.fromkeys(value, change(path))
    if isinstance(value, Mapping):
        return {name: with_paths(item, change) for name, item in value.items()}
    return [with_paths(item, change) for item in value] if isinstance(value, list) else value


def image_paths(value: Any) -> Iterator[str]:
    """Yield the paths of a value's images, in lists and objects too."""
    path = image_path(value)
    if path is not None:
        yield path
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from image_paths(item)


def output_path(content: bytes, mime_type: str) -> str:
    """Return where a run keeps an image: by its content, so that a line that runs again changes nothing."""
    suffix = mime_type.rpartition("/")[2]
    name = hashlib.sha256(content).hexdigest()[:32]
    return f"{OUTPUT_FOLDER}/{name}.{suffix}" if _SUFFIX.fullmatch(suffix) else f"{OUTPUT_FOLDER}/{name}"


def data_folder(data: Path) -> Path:
    """Return the folder that paths in the data are relative to."""
    return data if data.is_dir() else data.parent
