"""A verb that is killed right after any of its writes is given again, and ends as if nothing had happened.

One journey is taken in which every verb is killed at its n-th write, for each n; `make test` takes five of these kills,
drawn with a seed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.azure.journey import JOURNEY, STEPS
from tests.azure.snapshots import snapshot

WRITES = {
    "azure up": 27,
    "fine-tune": 7,
    "register": 1,
    "deploy base": 7,
    "deploy": 2,
    "connect": 1,
    "connect base": 1,
    "undeploy": 1,
    "azure down": 14,
}
"""How many writes each verb sends at least, where nothing disturbs it."""
READING = ("azure plan", "status", "batch-run", "batch-run base", "score", "score base", "compare")
VERBS = [verb for verb in STEPS if verb not in READING]
Kills = dict[str, int]


def travel(folder: Path, kills: Kills) -> dict[str, list[str]]:
    """Take the journey with its kills; return what there is after each verb."""
    return JOURNEY.travel(folder, VERBS, lambda azure, _: snapshot(azure), kills=kills)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What there is after each verb where nobody is killed."""
    return travel(tmp_path_factory.mktemp("undisturbed"), {})


@pytest.mark.slow
def test_five_kills_drawn_by_lot_leave_no_trace(tmp_path: Path, undisturbed: dict[str, list[str]]) -> None:
    lot = random.Random(20261122)
    verbs = lot.sample(sorted(WRITES), 5)
    kills = {verb: lot.randint(1, WRITES[verb]) for verb in verbs}
    assert travel(tmp_path, kills) == undisturbed, kills


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, max(WRITES.values()) + 1))
def test_a_kill_after_any_write_leaves_no_trace(tmp_path: Path, undisturbed: dict[str, list[str]], write: int) -> None:
    kills = {verb: write for verb, writes in WRITES.items() if write <= writes}
    assert travel(tmp_path, kills) == undisturbed
