"""What tells a resource that phi3flow made from one that it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAGS = {"created-by": "phi3flow"}


def is_tagged(resource: Mapping[str, Any]) -> bool:
    """Whether phi3flow made it."""
    return all((resource.get("tags") or {}).get(name) == value for name, value in TAGS.items())
