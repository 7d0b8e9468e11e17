"""A workspace in an emulated Azure, and what its users do there with azure-ai-ml."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Data, Model
from azure.ai.ml.operations._run_history_constants import RunHistoryConstants
from azure.identity import DefaultAzureCredential

from tests.azure.arm_client import ARM, ML, ArmClient, make_foundation, workspace_body
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION, World

WORKSPACE = f"{ML}/phi3-ws"
A100 = "Standard_NC24ads_A100_v4"
CPU = "Standard_DS3_v2"
FLOW = """\
$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${echo.output}"}
nodes:
- name: echo
  type: python
  source: {type: code, path: echo.py}
  inputs: {question: "${inputs.question}"}
"""


@contextmanager
def emulated_workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    """Start a subscription with a workspace and two clusters, log in, and work in a folder of its own."""
    monkeypatch.setattr(RunHistoryConstants, "_WAIT_COMPLETION_POLLING_INTERVAL_MIN", 0)
    project = folder / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    world = World(unregistered=set(), operation_polls=1, poll_ms=1, propagation_polls=0)
    with AzureEmulator(folder, world) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        arm = ArmClient()
        arm.put(WORKSPACE, workspace_body(make_foundation(arm)))
        for name, size in (("gpu-cluster", A100), ("cpu-cluster", CPU)):
            scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT120S"}
            settings = {"vmSize": size, "vmPriority": "Dedicated", "scaleSettings": scale}
            properties = {"computeType": "AmlCompute", "properties": settings}
            arm.put(f"{WORKSPACE}/computes/{name}", {"location": "eastus2", "properties": properties})
        emulator.requests.clear()
        yield emulator


def ml_client() -> MLClient:
    return MLClient(DefaultAzureCredential(), SUBSCRIPTION, "rg", "phi3-ws")


def registry_client(name: str = "azureml") -> MLClient:
    return MLClient(DefaultAzureCredential(), registry_name=name)


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {DefaultAzureCredential().get_token(f'{ARM}/.default').token}"}


def uploads(azure: AzureEmulator) -> list[str]:
    """Return the paths of the blobs that were written, apart from their metadata."""
    written = [each for each in azure.writes if ".blob." in each.host and each.query.get("comp") != "metadata"]
    return [each.path for each in written]


def upload(ml: MLClient, text: str = '{"messages": []}\n', *, name: str = "train", version: str | None = "1") -> Data:
    path = Path(f"{name}.jsonl")
    path.write_text(text, encoding="utf-8")
    return ml.data.create_or_update(Data(name=name, version=version, type="uri_file", path=str(path)))


def upload_model(ml: MLClient, *, version: str = "1") -> Model:
    folder = Path("model")
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(f"flavors: {{}}\nversion: {version}\n", encoding="utf-8")
    return ml.models.create_or_update(Model(name="phi3", version=version, path=str(folder), type="mlflow_model"))


def grant(principal: str, role: str, scope: str) -> None:
    definition = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    path = (
        f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid5(uuid.NAMESPACE_URL, principal + role)}"
    )
    properties = {"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal"}
    ArmClient("2022-04-01").send("PUT", path, {"properties": properties}).raise_for_status()
