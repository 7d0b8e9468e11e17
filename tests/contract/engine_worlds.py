"""What each engine needs to execute flows/chat_phi3, with a model whose answers a test decides."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.azure.flow_steps import FlowStep, azure_with_connection
from tests.support.command_line import Done, phi3flow
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

KEY = "key-of-the-endpoint-0123456789"


class Command(Protocol):
    """Runs a command line in a folder."""

    def __call__(self, *arguments: object, cwd: Path) -> Done: ...


@dataclass
class World:
    """A model that answers ``echo: QUESTION``, but none in ``refused``; ``questions`` are those that came.

    ``phi3flow`` gives a command there.
    """

    phi3flow: Command = phi3flow
    refused: set[str] = field(default_factory=set)
    questions: list[str] = field(default_factory=list)

    def answer(self, question: str) -> str:
        """Return the answer. Raises ValueError for a question that is refused."""
        self.questions.append(question)
        if question in self.refused:
            raise ValueError("the endpoint answered 400")
        return f"echo: {question}"


@contextmanager
def _with_endpoint(folder: Path, command: Command = phi3flow) -> Iterator[World]:
    """An endpoint on this machine, which the connection of connections/phi3_endpoint.yml leads to."""
    world = World(command)

    def reply(request: Request) -> Reply:
        try:
            return Reply(answer=world.answer(request.question))
        except ValueError as error:
            return Reply(400, answer=str(error))

    with FaultEndpoint(reply, key=KEY) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHI3_ENDPOINT", endpoint.url)
        patch.setenv("PHI3_KEY", KEY)
        yield world


@contextmanager
def _with_ray(folder: Path) -> Iterator[World]:
    """The same endpoint, and a process for each command: a second cluster does not start in one.

    Ray's files lie in a folder whose path is short enough for its sockets.
    """
    ray_folder = Path(tempfile.mkdtemp(prefix="ray-"))
    with _with_endpoint(folder, _process) as world, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(ray_folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield world
    shutil.rmtree(ray_folder)


@contextmanager
def _with_azureml(folder: Path) -> Iterator[World]:
    world = World()

    def outputs(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"answer": world.answer(inputs["question"])}

    with azure_with_connection(folder, to="azureml") as azure:
        azure.jobs.make_output = FlowStep(azure, outputs)
        yield world


@contextmanager
def _with_foundry(folder: Path) -> Iterator[World]:
    world = World()
    with azure_with_connection(folder, to="foundry") as azure:
        azure.answer_chat = lambda _, messages, parameters: world.answer(messages[-1]["content"])
        yield world


def _process(*arguments: object, cwd: Path) -> Done:
    command = [sys.executable, "-m", "phi3flow.cli.main", *map(str, arguments)]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return Done(ended.returncode, ended.stdout, ended.stderr)


WORLDS: Mapping[str, Callable[[Path], AbstractContextManager[World]]] = {
    "local": _with_endpoint,
    "ray": _with_ray,
    "azureml": _with_azureml,
    "foundry": _with_foundry,
}
SLOW = frozenset({"ray"})
"""Engines that take a minute to start."""


def make_project(folder: Path) -> None:
    """Lay out the folder in which commands are given."""
    for name in ("flows", "connections"):
        (folder / name).symlink_to(ROOT / name)
