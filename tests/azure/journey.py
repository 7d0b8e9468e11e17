"""The whole way from an empty subscription to a scored run and back, verb by verb, as a person would type it.

`python -m tests.azure.journey` takes it against an emulated Azure and prints a table: verb, requests, what there is.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.azure.disturbances import give_killed
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.scoring import AnswerChat
from tests.azure.emulator.world import World
from tests.support.command_line import Done, phi3flow
from tests.support.paths import FLOWS

CONNECTION, BASE_CONNECTION = "phi3_azure", "phi3_base"
BASE, TUNED = "phi-4-mini-instruct-1", "phi-4-mini-instruct-tuned-1"
"""The deployments of the registry's model as it is, and of what is made of it."""
BATCH_RUN = ("batch-run", "flows/chat_phi3", "--data", "data/test_lines.jsonl")
STEPS: dict[str, tuple[str, ...]] = {
    "azure plan": ("azure", "plan"),
    "azure up": ("azure", "up", "--yes"),
    "prepare-data": ("prepare-data", "--input", "chats.jsonl", "--out", "data"),
    "fine-tune": ("fine-tune", "--backend", "azureml", "--epochs", "2", "--learning-rate", "0.00002", "--yes"),
    "register": ("register", "--backend", "azureml"),
    "deploy base": ("deploy", "Phi-4-mini-instruct", "--backend", "azureml", "--traffic", "0", "--yes"),
    "deploy": ("deploy", "--backend", "azureml", "--yes"),
    "status": ("status", "--backend", "azureml"),
    "connect": ("connect", CONNECTION, "--from-deployment", "--to", "foundry"),
    "connect base": ("connect", BASE_CONNECTION, "--from-deployment", "--deployment", BASE, "--to", "foundry"),
    "batch-run": (*BATCH_RUN, "--connections", f"chat.connection={CONNECTION}", "--name", "tuned"),
    "batch-run base": (*BATCH_RUN, "--connections", f"chat.connection={BASE_CONNECTION}", "--name", "base"),
    "score": ("score", "tuned", "--flow", "flows/eval/answer_match"),
    "score base": ("score", "base", "--flow", "flows/eval/answer_match"),
    "compare": ("compare", "base", "tuned"),
    "undeploy": ("undeploy", "--backend", "azureml", "--yes"),
    "azure down": ("azure", "down", "--yes"),
}


def tutorial_world() -> World:
    """A subscription that nothing was done in, with the quota that the tutorial asks for, 24 cores of each kind.

    Both its kinds are one now, so that a deployment waits for the node that the fine-tune ran on.
    """
    return World(quota={"Standard NCADSA100v4 Family": 48}, idle_looks=6)


@dataclass(frozen=True)
class Step:
    """What a verb did: its requests, how many of them may have changed something, and what there was afterwards."""

    verb: str
    done: Done
    requests: int
    writes: int
    resources: int


def make_project(folder: Path) -> None:
    """Lay out what a project has before the first verb: the flows, and chats to learn from."""
    (folder / "flows").symlink_to(FLOWS)
    with (folder / "chats.jsonl").open("w", encoding="utf-8") as file:
        for number in range(60):
            question = {"role": "user", "content": f"Who founded company number {number}?"}
            answer = {"role": "assistant", "content": f"Company number {number} was founded by person {number}."}
            file.write(json.dumps({"prompt_id": str(number), "messages": [question, answer]}) + "\n")


@dataclass(frozen=True)
class Journey:
    """Verbs with their words, in a project as ``lay_out`` leaves it, where models say what ``answer`` does."""

    steps: Mapping[str, tuple[str, ...]]
    lay_out: Callable[[Path], None]
    answer: AnswerChat
    world: Callable[[], World] = World

    def take_step(self, azure: AzureEmulator, project: Path, verb: str) -> Step:
        """Give one verb, in this process."""
        requests, writes = len(azure.requests), len(azure.writes)
        done = phi3flow(*self.words_of(verb, project), cwd=project)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        made = len(list(azure.resources))
        return Step(verb, done, len(azure.requests) - requests, len(azure.writes) - writes, made)

    def words_of(self, verb: str, project: Path) -> list[str]:
        """Return a verb's words, with the files that a ``*`` at a word's end stands for, as a shell gives them."""
        words: list[str] = []
        for word in self.steps[verb]:
            files = sorted(str(file.relative_to(project)) for file in project.glob(word)) if word.endswith("*") else []
            words += files or [word]
        return words

    def take_all(self, azure: AzureEmulator, project: Path, verbs: Sequence[str] | None = None) -> list[Step]:
        """Give the verbs one after the other."""
        return [self.take_step(azure, project, verb) for verb in (self.steps if verbs is None else verbs)]

    def travel(
        self,
        folder: Path,
        verbs: Sequence[str],
        look: Callable[[AzureEmulator, Path], list[str]],
        *,
        before: Sequence[str] = (),
        disturb: Callable[[AzureEmulator], None] = lambda _: None,
        kills: Mapping[str, int] | None = None,
    ) -> dict[str, list[str]]:
        """Give verbs in an Azure of its own, disturbed after those ``before``; return what ``look`` sees after each.

        ``kills`` are verbs that are killed at their n-th write, and given again.
        """
        with AzureEmulator(folder, self.world()) as azure, pytest.MonkeyPatch.context() as patch:
            for name, value in azure.environment.items():
                patch.setenv(name, value)
            azure.answer_chat = self.answer
            project = folder / "project"
            project.mkdir()
            self.lay_out(project)
            self.take_all(azure, project, before)
            disturb(azure)
            after = {}
            for verb in verbs:
                if verb in (kills or {}):
                    give_killed(azure, project, self.words_of(verb, project), (kills or {})[verb])
                self.take_step(azure, project, verb)
                after[verb] = look(azure, project)
            return after

    def print_table(self) -> None:
        """Take the journey in an Azure of its own and print the table."""
        with tempfile.TemporaryDirectory() as place, AzureEmulator(Path(place), self.world()) as azure:
            os.environ.update(azure.environment)
            azure.answer_chat = self.answer
            project = Path(place) / "project"
            project.mkdir()
            self.lay_out(project)
            lines = ["| verb | requests | writes | resources afterwards |", "|---|---|---|---|"]
            for step in self.take_all(azure, project):
                lines.append(f"| {step.verb} | {step.requests} | {step.writes} | {step.resources} |")
            left = Counter(each["type"] for each in azure.resources)
            print("\n".join([*lines, "", f"left: {dict(left)}"]))  # noqa: T201


def answer_rightly(deployment: Mapping[str, Any], messages: Sequence[dict[str, str]], parameters: object) -> str:
    """What a well-tuned model would say; the base model knows nothing."""
    if deployment.get("name") == BASE:
        return "I do not know."
    number = messages[-1]["content"].rpartition("number ")[2].rstrip("?")
    return f"Company number {number} was founded by person {number}."


JOURNEY = Journey(STEPS, make_project, answer_rightly, tutorial_world)
take_step, take_all = JOURNEY.take_step, JOURNEY.take_all

if __name__ == "__main__":
    JOURNEY.print_table()
