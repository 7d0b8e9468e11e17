"""A verb of the serverless backend that is killed right after any of its writes, and what the same command makes of it.

One journey is taken in which every verb is killed at its n-th write, for each n: afterwards there is what there would
have been, in Azure and in the project's notes; no job, model or endpoint is there twice.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.serverless_journey import JOURNEY, leftovers

WRITES = {
    "fine-tune": 7,
    "register": 1,
    "deploy base": 1,
    "deploy": 1,
    "connect base": 1,
    "connect": 1,
    "undeploy base": 1,
    "undeploy": 2,
}
"""How many writes each verb sends where nothing disturbs it."""
VERBS = ("azure up", "prepare-data", *WRITES, "azure down")
Kills = dict[str, int]


def travel(folder: Path, kills: Kills) -> dict[str, list[str]]:
    """Take the journey with its kills; return what there is after each verb."""
    return JOURNEY.travel(folder, VERBS, leftovers, kills=kills)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What there is after each verb where nobody is killed."""
    return travel(tmp_path_factory.mktemp("undisturbed"), {})


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, max(WRITES.values()) + 1))
def test_a_kill_after_any_write_leaves_no_trace(tmp_path: Path, undisturbed: dict[str, list[str]], write: int) -> None:
    kills = {verb: write for verb, writes in WRITES.items() if write <= writes}
    assert travel(tmp_path, kills) == undisturbed
