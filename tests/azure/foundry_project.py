"""A subscription with an AI Foundry project and folders with data to work in it, for tests that share the former."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from phi3flow.backends.job_names import name_job
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job
from tests.azure.emulator.messages import Request, ServiceError
from tests.azure.emulator.routing import ARM
from tests.azure.emulator.scoring import echo
from tests.azure.emulator.world import World
from tests.azure.journey import make_project
from tests.azure.serverless_journey import take_all

ML = "Microsoft.MachineLearningServices/workspaces"
ENDPOINTS = f"{ML}/serverlessEndpoints"
PHI4 = "azureml://registries/azureml/models/Phi-4-mini-instruct"
"""The registry's model as an endpoint takes it."""


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

    def make_for_others(self, name: str, **properties: Any) -> None:
        """Have somebody else make an endpoint for the registry's model, whose properties are then as given."""
        path = f"{self.project_id}/serverlessEndpoints/{name}"
        body = {
            "location": "eastus2",
            "sku": {"name": "Consumption"},
            "properties": {"authMode": "Key", "modelSettings": {"modelId": PHI4}},
        }
        query, content = {"api-version": "2024-10-01-preview"}, json.dumps(body).encode()
        reply = self.azure.router.answer(Request("PUT", ARM, path, query, body=content))
        assert reply.status == 201, reply.body
        self.settle(name)
        self.endpoints[name]["properties"].update(properties)

    def settle(self, name: str) -> None:
        """Look at an endpoint until it is made, or gone."""
        while self.endpoints.get(name, {}).get("properties", {}).get("endpointState") in ("Creating", "Deleting"):
            with contextlib.suppress(ServiceError):
                self.azure.resources.get(f"{self.project_id}/serverlessEndpoints/{name}")

    def recover(self) -> None:
        """Undo what a test made wrong in the world, and delete its endpoints."""
        self.azure.fault = self.azure.after_write = lambda _: None
        self.azure.answer_chat = echo
        for field in fields(World):
            if field.name != "unregistered":
                setattr(self.azure.world, field.name, getattr(World(), field.name))
        for row in self.endpoints.values():
            self.azure.resources.delete(row["id"], asynchronous=False)


def suffix_for(test: str) -> str:
    """Return a suffix of a test's own, so that its job is no other test's."""
    return name_job("t", {"test": test})


@contextlib.contextmanager
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
