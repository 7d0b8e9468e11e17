"""A verb of Azure OpenAI that is killed right after any of its writes is given again, and ends as if nothing had been.

One journey is taken in which every verb is killed at its n-th write, for each n.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.openai_journey import STEPS, lay_out, left_in, take_step

pytestmark = pytest.mark.slow

WRITES = {"fine-tune": 3, "deploy base": 1, "deploy": 1, "undeploy base": 1, "undeploy": 6}
"""How many writes each verb sends where nothing disturbs it."""
VERBS = ("prepare-data", "fine-tune", "register", "deploy base", "deploy", "undeploy base", "undeploy")


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
    command = [sys.executable, "-m", "phi3flow.cli.main", *STEPS[verb]]
    killer.process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    said = killer.process.communicate()[1]
    azure.after_write = lambda _: None
    assert killer.process.returncode == -signal.SIGKILL, f"{verb} was not killed at write {write}: {said}"


def travel(folder: Path, kills: dict[str, int]) -> dict[str, list[str]]:
    """Take the journey with its kills in an Azure of its own; return what there is after each verb."""
    with AzureEmulator(folder) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        project = folder / "project"
        project.mkdir()
        lay_out(project)
        take_step(azure, project, "azure up")
        after = {}
        for verb in VERBS:
            if verb in kills:
                give_killed(azure, project, verb, kills[verb])
            take_step(azure, project, verb)
            after[verb] = [*left_in(azure), *noted(project)]
        return after


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
