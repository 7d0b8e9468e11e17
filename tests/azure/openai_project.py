"""A project that works with an Azure OpenAI resource of an emulated Azure, as tests see both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.azure.arm_client import GROUP, ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.emulator.openai.files import File
from tests.azure.emulator.openai.job_progress import Job
from tests.azure.emulator.world import PROVIDERS
from tests.azure.openai_account import ACCOUNT, ACCOUNTS, SUBDOMAIN, VERSION, account_body, make_account
from tests.support.command_line import Done, phi3flow

MODEL = "gpt-4.1-mini-2025-04-14"
ROLE = "Cognitive Services OpenAI Contributor"
BACKEND = ("--backend", "azure-openai")
_SETTINGS = f'[azure]\nresource_group = "{GROUP.rpartition("/")[2]}"\n'


@dataclass(frozen=True)
class OpenAIProject:
    """A project's folder, with chats to learn, and the resource that its settings name."""

    azure: AzureEmulator
    folder: Path
    account_id: str = ACCOUNT

    def give(self, *words: str) -> Done:
        """Give a command of the backend, in this process."""
        return phi3flow(words[0], *BACKEND, *words[1:], cwd=self.folder)

    def must(self, *words: str) -> Done:
        """Give a command that goes well."""
        done = self.give(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done

    def told(self, *words: str) -> Any:
        """Return what a command that goes well prints as JSON."""
        return json.loads(self.must(*words, "--json").stdout)

    def fine_tune(self, *more: str, model: str = MODEL) -> Done:
        """Give a fine-tune that is not detached, whatever becomes of it."""
        return self.give("fine-tune", "--model", model, "--yes", *more)

    def tuned_model(self, *more: str, model: str = MODEL) -> str:
        """Fine-tune, and return the name of the model."""
        done = self.fine_tune(*more, model=model)
        assert done.returncode == 0, done.stderr
        made = self.jobs[0].model
        assert made
        return made.names[0]

    @property
    def jobs(self) -> list[Job]:
        """The resource's jobs, newest first."""
        return self.azure.openai.jobs.of(self.account_id)

    @property
    def files(self) -> list[File]:
        """The resource's files, newest first."""
        return self.azure.openai.files.of(self.account_id)

    @property
    def models(self) -> list[str]:
        """The names of the resource's fine-tuned models."""
        return [model.names[0] for model in self.azure.openai.models.of(self.account_id)]

    @property
    def deployments(self) -> dict[str, dict[str, Any]]:
        """The resource's deployments by name."""
        rows = self.azure.openai.deployments.all
        return {row["name"]: row for row in rows if row["id"].lower().startswith(f"{self.account_id}/".lower())}

    @property
    def keys(self) -> list[str]:
        """The resource's two keys."""
        return list(self.azure.openai.accounts.keys(self.account_id).values())

    def posted(self, path_end: str) -> list[Request]:
        """Return what was posted to a path of the resource's API."""
        return [
            request for request in self.azure.writes if request.method == "POST" and request.path.endswith(path_end)
        ]

    def write_chats(self, name: str, count: int, *, words: int = 1) -> Path:
        """Write so many chats, whose answers have about so many words, and return their file."""
        path = self.folder / name
        path.write_text("".join(f"{json.dumps(chat)}\n" for chat in chats(count, words=words)), encoding="utf-8")
        return path


def chats(count: int, *, words: int = 1) -> Sequence[dict[str, Any]]:
    """Return so many chats."""
    answers = [" ".join([f"Person {number}", *["too"] * (words - 1)]) for number in range(count)]
    return [
        {
            "messages": [
                {"role": "user", "content": f"Who founded company {number}?"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number, answer in enumerate(answers)
    ]


def make_project(azure: AzureEmulator, folder: Path, *, kind: str = "AIServices", named: bool = True) -> OpenAIProject:
    """Make a resource and a project of it; ``named``: the project's settings say which."""
    azure.providers.registered |= set(PROVIDERS)
    azure.world.roles[ACCOUNT] = ROLE
    make_account(ArmClient(VERSION), body=account_body(kind))
    settings = f'{_SETTINGS}openai_account = "{SUBDOMAIN}"\n' if named else _SETTINGS
    (folder / "phi3flow.toml").write_text(settings, encoding="utf-8")
    project = OpenAIProject(azure, folder)
    (folder / "data").mkdir()
    project.write_chats("data/train.jsonl", 12)
    project.write_chats("data/validation.jsonl", 4)
    azure.requests.clear()
    return project


def other_account(name: str, *, region: str = "westus3") -> str:
    """Make another resource, and return its id."""
    path = f"{ACCOUNTS}/{name}"
    make_account(ArmClient(VERSION), path=path, body={**account_body("AIServices", name), "location": region})
    return path
