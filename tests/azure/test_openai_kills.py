"""A verb of Azure OpenAI that is killed right after any of its writes is given again, and ends as if nothing had been.

One journey is taken in which every verb is killed at its n-th write, for each n.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.openai_journey import JOURNEY, left_in

pytestmark = pytest.mark.slow

WRITES = {
    "fine-tune": 3,
    "deploy base": 1,
    "deploy": 1,
    "connect base": 1,
    "connect": 1,
    "undeploy base": 1,
    "undeploy": 6,
}
"""How many writes each verb sends where nothing disturbs it."""
VERBS = ("azure up", "prepare-data", "fine-tune", "register", *list(WRITES)[1:], "azure down")
FOUNDATION = {"azure up": (1, 15, 28, 31, 33), "azure down": (1, 8, 13, 17, 19)}
"""Of their writes some, the resource's and its roles' among them: those of the rest are in test_azure_kills.py."""


def travel(folder: Path, kills: dict[str, int]) -> dict[str, list[str]]:
    """Take the journey with its kills; return what there is after each verb, in Azure and in the project's notes."""

    def look(azure: AzureEmulator, project: Path) -> list[str]:
        return [*left_in(azure), *noted(project)]

    return JOURNEY.travel(folder, VERBS, look, kills=kills)


def noted(project: Path) -> list[str]:
    """Return how many of each the project's state knows, and how they fare."""
    file = project / ".phi3flow" / "state.json"
    state = json.loads(file.read_bytes()) if file.is_file() else {}
    jobs = [f"noted job {job['status']}" for job in state.get("jobs", [])]
    models = [f"noted model of {model['name'].partition('.ft-')[0]}" for model in state.get("models", [])]
    return [*jobs, *models, *(f"noted deployment {row['endpoint']}" for row in state.get("endpoints", []))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, encodings: Path) -> dict[str, list[str]]:
    """What there is after each verb where nobody is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(encodings))
        return travel(tmp_path_factory.mktemp("undisturbed"), {})


def test_one_job_is_made_of_two_files(undisturbed: dict[str, list[str]]) -> None:
    made = [row for row in undisturbed["fine-tune"] if row.startswith(("job", "file", "model"))]
    assert len(made) == 5


@pytest.mark.parametrize("write", range(1, max(WRITES.values()) + 1))
def test_a_kill_after_any_write_leaves_no_trace(
    tmp_path: Path, real_encodings: None, undisturbed: dict[str, list[str]], write: int
) -> None:
    kills = {verb: write for verb, writes in WRITES.items() if write <= writes}
    assert travel(tmp_path, kills) == undisturbed


@pytest.mark.parametrize("up", FOUNDATION["azure up"])
def test_a_kill_of_up_and_of_down_leaves_no_trace(
    tmp_path: Path, real_encodings: None, undisturbed: dict[str, list[str]], up: int
) -> None:
    down = FOUNDATION["azure down"][FOUNDATION["azure up"].index(up)]
    assert travel(tmp_path, {"azure up": up, "azure down": down}) == undisturbed
