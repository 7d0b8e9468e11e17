"""Where each backend is tried: on this machine with a tiny Phi-3, else in an emulated subscription."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from phi3flow.backends.backend import AnyBackend, DeploymentRequest, FineTuneRequest
from phi3flow.backends.choice import open_backend
from phi3flow.project.paths import STATE_FILE
from phi3flow.project.state import BackendState, EndpointState
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.openai_project import MODEL, make_project
from tests.support.command_line import phi3flow
from tests.support.folders.small_training import write_chats
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.serving import KEY, body_of


@dataclass(frozen=True)
class Ground:
    """Where a backend is tried: a project in which it can work, what it trains, and what it does not take."""

    name: str
    project: Path
    fine_tune: FineTuneRequest
    deployment: DeploymentRequest
    refused: tuple[FineTuneRequest | DeploymentRequest, ...]
    """Requests with one field that this backend does not follow, whose flag it names."""
    ask: Callable[[EndpointState, str | None], str]
    """Ask an endpoint with the key that the backend keeps, and return its answer."""
    names_jobs: bool = True
    """Whether a job's name follows from its content; else the service names it once it is submitted."""
    model_name: str | None = "support"
    """What a model is registered as; None where the service names it, and ``--name`` is refused."""
    deploys_again: bool = True
    """Whether a model that is deployed is found deployed; else it is refused to deploy it again."""
    running_detail: str | None = None
    """What status says of an endpoint that is well, as a pattern."""

    @property
    def backend(self) -> AnyBackend:
        """The backend, as a new process would open it."""
        return open_backend(self.name, self.project)

    @property
    def noted(self) -> BackendState:
        """What the project's state says of the backend."""
        return BackendState(self.name, self.project / STATE_FILE)


def _ask(endpoint: EndpointState, key: str | None) -> str:
    body = body_of("Hi", max_new_tokens=3)
    answer = requests.post(str(endpoint.url), json=body, headers={"Authorization": f"Bearer {key or KEY}"}, timeout=60)
    return str(answer.json()["output"])


def _ask_chat(endpoint: EndpointState, key: str | None) -> str:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    body |= {"model": endpoint.asked_as} if endpoint.asked_as else {}
    headers = {"Authorization": f"Bearer {key}"}
    answer = requests.post(f"{endpoint.url}/chat/completions", json=body, headers=headers, timeout=60)
    return str(answer.json()["choices"][0]["message"]["content"])


def _local(folder: Path, held: ExitStack) -> Ground:
    train, validation = write_chats(folder)
    model = save_tiny_phi3(folder / "phi3")
    patch = held.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("PHI3_KEY", KEY)
    request = FineTuneRequest(
        train, validation, model=str(model), output=Path("tuned"), hyperparameters={"epochs": 1, "batch_size": 16}
    )
    deployment = DeploymentRequest()
    refused = (
        replace(request, recipe="script"),
        replace(request, gpus=2),
        replace(request, nodes=2),
        replace(request, deepspeed_stage=3),
        replace(deployment, traffic=10.0),
    )
    return Ground("local", folder, request, deployment, refused, _ask, deploys_again=False)


def _azure_up(folder: Path, held: ExitStack) -> None:
    azure = held.enter_context(AzureEmulator(folder / "azure"))
    patch = held.enter_context(pytest.MonkeyPatch.context())
    for name, value in azure.environment.items():
        patch.setenv(name, value)
    done = phi3flow("azure", "up", "--yes", cwd=folder)
    assert done.returncode == 0, done.stderr


def _azureml(folder: Path, held: ExitStack) -> Ground:
    train, validation = write_chats(folder)
    _azure_up(folder, held)
    request = FineTuneRequest(train, validation, hyperparameters={"epochs": 1})
    deployment = DeploymentRequest()
    refused = (
        replace(request, resume=True),
        replace(request, merge=True),
        replace(request, output=Path("tuned")),
        replace(deployment, host="0.0.0.0"),
        replace(deployment, port=8000),
        replace(deployment, key_env="OTHER_KEY"),
        replace(deployment, timeout_s=1.0),
    )
    return Ground("azureml", folder, request, deployment, refused, _ask)


def _serverless(folder: Path, held: ExitStack) -> Ground:
    train, validation = write_chats(folder)
    _azure_up(folder, held)
    request = FineTuneRequest(train, validation, suffix="support", hyperparameters={"epochs": 1})
    deployment = DeploymentRequest()
    refused = (
        replace(request, resume=True),
        replace(request, merge=True),
        replace(request, output=Path("tuned")),
        replace(request, recipe="script"),
        replace(request, gpus=2),
        replace(request, nodes=2),
        replace(request, deepspeed_stage=3),
        replace(request, training_type="Standard"),
        replace(deployment, host="0.0.0.0"),
        replace(deployment, port=8000),
        replace(deployment, key_env="OTHER_KEY"),
        replace(deployment, timeout_s=1.0),
        replace(deployment, traffic=10.0),
        replace(deployment, sku="Standard"),
        replace(deployment, capacity=10),
        replace(deployment, source="other"),
    )
    detail = "hosted by the hour, whether it is asked or not"
    return Ground("serverless", folder, request, deployment, refused, _ask_chat, model_name=None, running_detail=detail)


def _azure_openai(folder: Path, held: ExitStack) -> Ground:
    azure = held.enter_context(AzureEmulator(folder / "azure"))
    patch = held.enter_context(pytest.MonkeyPatch.context())
    for name, value in azure.environment.items():
        patch.setenv(name, value)
    make_project(azure, folder)
    train, validation = write_chats(folder)
    request = FineTuneRequest(train, validation, model=MODEL, suffix="support", hyperparameters={"epochs": 1})
    deployment = DeploymentRequest()
    refused = (
        replace(request, resume=True),
        replace(request, merge=True),
        replace(request, output=Path("tuned")),
        replace(request, recipe="script"),
        replace(request, gpus=2),
        replace(request, nodes=2),
        replace(request, deepspeed_stage=3),
        replace(deployment, host="0.0.0.0"),
        replace(deployment, port=8000),
        replace(deployment, key_env="OTHER_KEY"),
        replace(deployment, timeout_s=1.0),
        replace(deployment, traffic=10.0),
        replace(deployment, content_safety=False),
    )
    detail = r"hosted for \d+\.\d h at no hourly fee; Azure removes it at [-\d: ]+ UTC, 24 hours after it was made"
    return Ground(
        "azure-openai",
        folder,
        request,
        deployment,
        refused,
        _ask_chat,
        names_jobs=False,
        model_name=None,
        running_detail=detail,
    )


GROUNDS: dict[str, Callable[[Path, ExitStack], Ground]] = {
    "local": _local,
    "azureml": _azureml,
    "serverless": _serverless,
    "azure-openai": _azure_openai,
}
