"""Where something is wrong in Azure, the command says what, why and what to type, as docs/azure-errors.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.emulator.world import CLIENT_SECRET
from tests.azure.wrong_world import WrongWorld
from tests.azure.wrong_world_page import DOCS, entry, meet, message_of
from tests.azure.wrong_worlds import WORLDS

QUICK = 3
"""Every so many a world is met by `make test`, the others by `make test-azure`."""
CASES = [
    pytest.param(world, id=world.name, marks=[pytest.mark.slow] if world.slow or place % QUICK else [])
    for place, world in enumerate(WORLDS)
]


@pytest.mark.parametrize("world", CASES)
def test_what_is_wrong_is_said_with_the_way_out(world: WrongWorld, tmp_path: Path) -> None:
    done, azure = meet(world, tmp_path)
    message = message_of(done)
    assert done.returncode == world.exit_code, message
    for words in world.says:
        assert words in message
    assert "Traceback" not in done.stderr
    assert CLIENT_SECRET not in done.stdout + done.stderr
    assert entry(world, done.returncode, message) in DOCS.read_text(encoding="utf-8")
    if world.leaves is not None:
        deployments = {row["name"] for row in azure.resources if row["type"].endswith("/onlineEndpoints/deployments")}
        assert deployments == set(world.leaves)


def test_the_page_has_short_lines() -> None:
    assert max(len(line) for line in DOCS.read_text(encoding="utf-8").splitlines()) <= 300
