"""A verb of the serverless backend that is killed right after any of its writes, and what the same command makes of it.

One journey is taken in which every verb is killed at its n-th write, for each n: afterwards there is what there would
have been, in Azure and in the project's notes; no job, model or endpoint is there twice.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.journey import make_project
from tests.azure.serverless_journey import JOURNEY, answer_rightly, leftovers, take_step
from tests.azure.test_azure_kills import Killer

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


def give_killed(azure: AzureEmulator, project: Path, verb: str, write: int) -> None:
    """Give a verb as a process of its own, and kill it after a write."""
    azure.after_write = killer = Killer(write)
    killer.process = subprocess.Popen(
        [sys.executable, "-m", "phi3flow.cli.main", *JOURNEY.words_of(verb, project)],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = killer.process.communicate()[1]
    azure.after_write = lambda _: None
    assert killer.process.returncode == -signal.SIGKILL, f"{verb} was not killed at write {write}: {said}"


def travel(folder: Path, kills: Kills) -> dict[str, list[str]]:
    """Take the journey with its kills in an Azure of its own; return what there is after each verb."""
    with AzureEmulator(folder) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        azure.answer_chat = answer_rightly
        project = folder / "project"
        project.mkdir()
        make_project(project)
        after = {}
        for verb in VERBS:
            if verb in kills:
                give_killed(azure, project, verb, kills[verb])
            take_step(azure, project, verb)
            after[verb] = leftovers(azure, project)
        return after


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What there is after each verb where nobody is killed."""
    return travel(tmp_path_factory.mktemp("undisturbed"), {})


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, max(WRITES.values()) + 1))
def test_a_kill_after_any_write_leaves_no_trace(tmp_path: Path, undisturbed: dict[str, list[str]], write: int) -> None:
    kills = {verb: write for verb, writes in WRITES.items() if write <= writes}
    assert travel(tmp_path, kills) == undisturbed
