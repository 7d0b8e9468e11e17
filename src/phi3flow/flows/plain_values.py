"""Values of any kind as JSON has them, to be looked at: what has no such form is named by its type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_LONGEST = 1_000_000
_DEEPEST = 50


def seen_value(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses by their fields, connections by name, others as ``<type>``.

    It is a copy, never asks an object for its repr, which may hold a secret, and cuts texts at a million characters. It
    never raises, whatever an object does when it is looked at; an exception is what it says.
    """
    try:
        return _plain(str(value) if isinstance(value, BaseException) else value, depth=0)
    except Exception:
        return f"<{type(value).__name__}>"


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)[:_LONGEST]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(name)[:_LONGEST]: _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not _is_promptflows(value):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name, None), depth + 1) for field in fields}
    name = getattr(value, "name", None) if _is_promptflows(value) else None
    return f"<{type(value).__name__}{f' {name}' if isinstance(name, str) else ''}>"


def _is_promptflows(value: object) -> bool:
    return type(value).__module__.startswith("promptflow")
