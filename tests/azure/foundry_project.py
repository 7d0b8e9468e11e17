"""A subscription with an AI Foundry project and folders with data to work in it, for tests that share the former."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job
from tests.azure.emulator.scoring import echo
from tests.azure.emulator.world import World
from tests.azure.serverless_journey import make_project, take_all

ML = "Microsoft.MachineLearningServices/workspaces"
ENDPOINTS = f"{ML}/serverlessEndpoints"


@dataclass
class Foundry:
    """An emulated Azure in which `azure up` has been given; ``lend`` gives a folder that nothing was begun in."""

    azure: AzureEmulator
    template: Path

    @property
    def project_id(self) -> str:
        """The AI Foundry project."""
        (found,) = (row["id"] for row in self.azure.resources if row["type"] == ML and row["kind"] == "Project")
        return str(found)

    @property
    def endpoints(self) -> dict[str, dict[str, Any]]:
        """The serverless endpoints by name."""
        return {row["name"]: row for row in self.azure.resources if row["type"] == ENDPOINTS}

    @property
    def last_job(self) -> Job:
        """The job that was put last."""
        return self.azure.jobs.all[-1]

    def lend(self, folder: Path) -> Path:
        """Lay out a project's folder with chats and the files that `prepare-data` made of them."""
        shutil.copytree(self.template, folder, symlinks=True, dirs_exist_ok=True)
        return folder

    def recover(self) -> None:
        """Undo what a test made wrong in the world, and delete its endpoints."""
        self.azure.fault = self.azure.after_write = lambda _: None
        self.azure.answer_chat = echo
        for field in fields(World):
            if field.name != "unregistered":
                setattr(self.azure.world, field.name, getattr(World(), field.name))
        for row in self.endpoints.values():
            self.azure.resources.delete(row["id"], asynchronous=False)


@contextmanager
def open_foundry(folder: Path) -> Iterator[Foundry]:
    """Start a subscription, log in, and give `azure up` and `prepare-data`."""
    with AzureEmulator(folder) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        template = folder / "template"
        template.mkdir()
        make_project(template)
        take_all(azure, template, ["azure up", "prepare-data"])
        yield Foundry(azure, template)
