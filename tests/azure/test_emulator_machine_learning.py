"""The emulator's storage, assets and registry behave as the services', seen through azure-ai-ml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Data, Environment
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobClient

from tests.azure.arm_client import GROUP
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import CALLER
from tests.azure.ml_workspace import (
    A100,
    WORKSPACE,
    bearer,
    emulated_workspace,
    grant,
    ml_client,
    registry_client,
    upload,
    upload_model,
    uploads,
)

pytestmark = pytest.mark.slow

BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with emulated_workspace(tmp_path, monkeypatch) as emulator:
        yield emulator


@pytest.fixture
def ml(azure: AzureEmulator) -> MLClient:
    return ml_client()


@pytest.fixture
def registry(azure: AzureEmulator) -> MLClient:
    return registry_client()


def test_data_is_uploaded_once(azure: AzureEmulator, ml: MLClient) -> None:
    first = upload(ml)
    assert first.path.startswith("azureml://subscriptions/")
    assert first.path.endswith("/train.jsonl")
    assert len(uploads(azure)) == 1
    azure.requests.clear()
    assert upload(ml).path == first.path
    assert uploads(azure) == []
    assert [each.method for each in azure.writes] == ["PUT"]


def test_folder_is_uploaded_with_its_empty_files(azure: AzureEmulator, ml: MLClient) -> None:
    Path("folder/part").mkdir(parents=True)
    Path("folder/a.txt").write_text("a", encoding="utf-8")
    Path("folder/part/empty.txt").touch()
    data = ml.data.create_or_update(Data(name="folder", version="1", type="uri_folder", path="folder"))
    place = azure.assets.place(WORKSPACE, data.path)
    assert [azure.blobs.find(*place[:2], f"{place[2]}/{name}") for name in ("a.txt", "part/empty.txt")] == [b"a", b""]


def test_existing_version_keeps_its_content(ml: MLClient) -> None:
    upload(ml)
    with pytest.raises(ResourceExistsError, match="existing asset's dataUri cannot be changed"):
        upload(ml, "other\n")
    upload_model(ml)
    changed = ml.models.get("phi3", version="1")
    changed.tags = {"job": "ft-1"}
    ml.models.create_or_update(changed)
    assert ml.models.get("phi3", version="1").tags == {"job": "ft-1"}
    ml.environments.create_or_update(Environment(name="serving", image="mcr.microsoft.com/a:1"))
    second = ml.environments.create_or_update(Environment(name="serving", image="mcr.microsoft.com/b:1"))
    assert second.version == "2"
    with pytest.raises(HttpResponseError, match="must be a positive integer"):
        upload_model(ml, version="v2")


def test_versions_are_counted_up_found_by_label_and_archived(ml: MLClient) -> None:
    assert [upload(ml, version=None).version, upload(ml, version=None).version] == ["1", "2"]
    assert ml.data.get("train", label="latest").version == "2"
    ml.data.archive("train", version="2")
    assert [each.version for each in ml.data.list("train")] == ["1"]
    with pytest.raises(ResourceNotFoundError, match="Data train:9 not found"):
        ml.data.get("train", version="9")
    with pytest.raises(MlException, match="Asset other does not exist in workspace phi3-ws"):
        ml.data.get("other", label="latest")


def test_lists_come_in_pages(azure: AzureEmulator, ml: MLClient) -> None:
    for number in range(40):
        azure.resources.store(f"{WORKSPACE}/data/set-{number}", {"properties": {"dataType": "uri_file"}})
    assert len([each.name for each in ml.data.list()]) == 40
    assert [each.query.get("$skip") for each in azure.requests if each.path == f"{WORKSPACE}/data"] == [None, "30"]


def test_blobs_are_written_in_blocks_by_who_has_a_role(azure: AzureEmulator, ml: MLClient) -> None:
    azure.blobs.add_container("phi3store", "files")
    url = "https://phi3store.blob.core.windows.net/files/large.bin"
    content = os.urandom(5000)

    def client(credential: Any) -> BlobClient:
        return BlobClient.from_blob_url(url, credential, max_single_put_size=1024, max_block_size=1024, retry_total=0)

    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        client(DefaultAzureCredential()).upload_blob(content)
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store"
    grant(CALLER, BLOB_CONTRIBUTOR, account)
    client(DefaultAzureCredential()).upload_blob(content)
    assert azure.blobs.find("phi3store", "files", "large.bin") == content
    with pytest.raises(ResourceExistsError):
        client(DefaultAzureCredential()).upload_blob(content)
    reading = azure.blobs.sign("phi3store", "files", permissions="r")
    assert client(reading).download_blob(offset=10, length=20).readall() == content[10:30]
    for signature in (reading, reading.replace("sig=", "sig=x")):
        with pytest.raises(HttpResponseError):
            client(signature).upload_blob(content, overwrite=True)
    assert requests.get(url, timeout=10).status_code == 401


def test_registry_shows_its_models_and_components(azure: AzureEmulator, registry: MLClient) -> None:
    component = registry.components.get("chat_completion_pipeline", version="0.0.82")
    assert component.id == "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    assert len(component.inputs) == 69
    assert list(component.outputs) == ["pytorch_model_folder", "mlflow_model_folder"]
    model = registry.models.get("Phi-4-mini-instruct", label="latest")
    assert A100 in model.tags["finetune_compute_allow_list"]
    assert {"Phi-4", model.name} <= {each.name for each in registry.models.list()}
    assert [each.version for each in registry.models.list("Phi-4")] == ["8", "7"]
    assert registry.environments.get("sklearn-1.5", label="latest").version == "30"
    azure.world.missing_models.add("Phi-4")
    with pytest.raises(ResourceNotFoundError, match="Model Phi-4 not found in registry azureml"):
        registry.models.get("Phi-4", label="latest")
    assert "Phi-4" not in {each.name for each in registry.models.list()}
    with pytest.raises(ResourceNotFoundError, match="Registry nobody's not found"):
        registry_client("nobody's")


def test_workspaces_own_host_wants_a_token(azure: AzureEmulator) -> None:
    run = f"https://eastus2.api.azureml.ms/history/v1.0{WORKSPACE}/runs/ft-1"
    assert requests.get(run, timeout=10).status_code == 401
    assert requests.get(run, headers=bearer(), timeout=10).status_code == 404
    azure.world.roles.clear()
    assert requests.get(run, headers=bearer(), timeout=10).status_code == 403
