"""When Azure made something."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def created_at(resource: Mapping[str, Any]) -> datetime:
    """Return when a resource was made, as it tells; now where it does not."""
    created = (resource.get("systemData") or {}).get("createdAt")
    return datetime.fromisoformat(created) if created else datetime.now(UTC)
