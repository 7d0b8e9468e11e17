"""Lists as OpenAI pages them, ``limit`` rows after the one that ``after`` names, and waits between looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.refusals import invalid_payload
from tests.azure.emulator.world import World


def listed(request: Request, rows: Sequence[dict[str, Any]], *, page: int = 20, most: int = 100) -> Reply:
    """Answer one page of rows, which come newest first. Raises DataPlaneError 400 for a page that cannot be."""
    limit = request.query.get("limit", str(page))
    if not limit.isdecimal() or not 1 <= int(limit) <= most:
        raise invalid_payload(f"The limit must be between 1 and {most}, not {limit}.")
    after, start = request.query.get("after"), 0
    if after is not None:
        places = [place for place, row in enumerate(rows) if row["id"] == after]
        if not places:
            raise invalid_payload(f"There is nothing with the id '{after}' to list after.")
        start = places[0] + 1
    end = start + int(limit)
    return Reply(200, {"object": "list", "data": list(rows[start:end]), "has_more": end < len(rows)})


def wait_headers(world: World) -> dict[str, str]:
    """Return what asks whoever looks at something that is under way to wait before the next look."""
    return {"retry-after-ms": str(world.openai_poll_ms)} if world.openai_poll_ms else {}
