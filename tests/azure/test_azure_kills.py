"""A verb that is killed right after any of its writes is given again, and ends as if nothing had happened.

One journey is taken in which every verb is killed at its n-th write, for each n; `make test` takes five of these kills,
drawn with a seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.journey import STEPS, answer_rightly, make_project, take_step, tutorial_world
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


class Killer:
    """Ends a process at once when Azure has carried out its n-th write, before the answer goes out."""

    def __init__(self, write: int) -> None:
        self._left = write
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, request: Request) -> None:
        self._left -= 1
        if self._left == 0 and self.process:
            os.kill(self.process.pid, signal.SIGKILL)


def give_killed(azure: AzureEmulator, project: Path, verb: str, write: int) -> None:
    """Give a verb as a process of its own, and kill it after a write."""
    azure.after_write = killer = Killer(write)
    killer.process = subprocess.Popen(
        [sys.executable, "-m", "phi3flow.cli.main", *STEPS[verb]],
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
    with AzureEmulator(folder, tutorial_world()) as azure, pytest.MonkeyPatch.context() as patch:
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
            after[verb] = snapshot(azure)
        return after


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
