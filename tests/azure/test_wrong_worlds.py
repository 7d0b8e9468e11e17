"""Where something is wrong in Azure, the command says what, why and what to type, as docs/azure-errors.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.emulator.world import CLIENT_SECRET
from tests.azure.wrong_world_page import DOCS, meet, message_of
from tests.azure.wrong_worlds import WORLDS, WrongWorld


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_what_is_wrong_is_said_with_the_way_out(world: WrongWorld, tmp_path: Path) -> None:
    done, _ = meet(world, tmp_path)
    message = message_of(done)
    assert done.returncode == world.exit_code, message
    for words in world.says:
        assert words in message
    assert "Traceback" not in done.stderr
    assert CLIENT_SECRET not in done.stdout + done.stderr
    assert message.replace("|", "\\|").replace("<", "&lt;") in DOCS.read_text(encoding="utf-8")
