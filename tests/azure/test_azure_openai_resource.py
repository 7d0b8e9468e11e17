"""The Azure OpenAI resource that azure up makes: of which kind, with which roles, and how azure down takes it away."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.azure.arm_client import ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import CALLER, SUBSCRIPTION
from tests.azure.openapi import validate
from tests.azure.snapshots import resource
from tests.support.command_line import phi3flow

SPECS = os.environ.get("AZURE_SPECS_DIR", "")
KIND = "Microsoft.CognitiveServices/accounts"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
ACCOUNT = f"{GROUP}/providers/{KIND}/phi3flow-openai"
VERSION = "2025-06-01"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose settings name a resource."""
    (tmp_path / "phi3flow.toml").write_text('[azure]\nopenai_account = "phi3flow-openai"\n', encoding="utf-8")
    return tmp_path


def up(project: Path) -> None:
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr


def account_put(azure: AzureEmulator) -> dict[str, Any]:
    (sent,) = [request.json for request in azure.writes if request.method == "PUT" and request.path == ACCOUNT]
    return dict(sent)


def test_a_new_one_is_a_foundry_resource_in_which_anybody_can_fine_tune(azure: AzureEmulator, project: Path) -> None:
    up(project)
    account = resource(azure, KIND)
    assert (account["kind"], account["sku"]) == ("AIServices", {"name": "S0"})
    assert account["properties"]["allowProjectManagement"] is True
    assert account["properties"]["publicNetworkAccess"] == "Enabled"
    assert account["identity"]["principalId"]
    assert "publicNetworkAccess" not in account_put(azure)["properties"]
    assert azure.roles.of(CALLER) == {
        ("Azure AI Developer", GROUP),
        ("Cognitive Services OpenAI Contributor", account["id"]),
        ("Cognitive Services OpenAI User", account["id"]),
        ("Cognitive Services Contributor", account["id"]),
        ("Cognitive Services Usages Reader", f"/subscriptions/{SUBSCRIPTION}"),
    }


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
def test_microsofts_types_have_what_is_sent(azure: AzureEmulator, project: Path) -> None:
    up(project)
    held = validate([request for request in azure.writes if request.path == ACCOUNT], Path(SPECS))
    assert (held.problems, held.n_bodies) == ([], 1)
    assert {covered.source for covered in held.operations} == {
        f"bicep-types/microsoft.cognitiveservices@{VERSION}.json"
    }


@pytest.mark.slow
def test_one_of_another_kind_stays_as_it_is(azure: AzureEmulator, project: Path) -> None:
    """An earlier build made it, with our tag; nothing is to be changed, and what it serves goes on."""
    up(project)
    account = resource(azure, KIND)
    account["kind"] = "OpenAI"
    del account["identity"], account["properties"]["allowProjectManagement"]
    before, writes = json.dumps(account), len(azure.writes)
    up(project)
    assert (json.dumps(resource(azure, KIND)), len(azure.writes)) == (before, writes)


def test_down_deletes_it_with_what_phi3flow_deployed_in_it_and_up_recovers_it(
    azure: AzureEmulator, project: Path
) -> None:
    up(project)
    deploy(azure, "ours", tags={"created-by": "phi3flow"})
    done = phi3flow("azure", "down", "--yes", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    deleted = [row["name"] for row in json.loads(done.stdout)["deleted"]]
    assert deleted.index("ours") < deleted.index("phi3flow-openai")
    assert [row["id"] for row in azure.resources] == [GROUP]
    assert azure.world.soft_deleted >= {ACCOUNT.lower()}
    up(project)
    assert resource(azure, KIND)["kind"] == "AIServices"
    assert not azure.world.soft_deleted


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deployments", "projects"])
def test_down_keeps_it_where_others_work_in_it(azure: AzureEmulator, project: Path, kind: str) -> None:
    up(project)
    deploy(azure, "ours", tags={"created-by": "phi3flow"})
    azure.resources.store(f"{ACCOUNT}/{kind}/theirs", {"properties": {"provisioningState": "Succeeded"}})
    done = phi3flow("azure", "down", "--yes", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    kept = {row["name"]: row["reason"] for row in json.loads(done.stdout)["kept"]}
    assert kept == {"phi3flow-openai": f"phi3flow did not make its {kind[:-1]} theirs"}
    left = {row["id"] for row in azure.resources}
    assert left == {GROUP, ACCOUNT, f"{ACCOUNT}/{kind}/theirs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "body", "problem"),
    [
        ("2024-10-01", {"identity": {"type": "SystemAssigned"}}, "Could not find member 'allowProjectManagement'"),
        (VERSION, {}, "requires a managed identity"),
        (VERSION, {"kind": "OpenAI", "identity": {"type": "SystemAssigned"}}, "are not supported by accounts"),
    ],
)
def test_projects_need_a_new_version_an_identity_and_the_kind(
    azure: AzureEmulator, project: Path, version: str, body: dict[str, Any], problem: str
) -> None:
    up(project)
    properties = {"customSubDomainName": "another", "allowProjectManagement": True}
    wanted = {"location": "eastus2", "kind": "AIServices", "sku": {"name": "S0"}, "properties": properties, **body}
    status, _, message = ArmClient(version).refusal("PUT", ACCOUNT.replace("phi3flow-openai", "another"), wanted)
    assert (status, problem in message) == (400, True), message


def deploy(azure: AzureEmulator, name: str, *, tags: dict[str, str]) -> None:
    model = {"format": "OpenAI-OSS", "name": "gpt-oss-20b", "version": "1"}
    sku = {"name": "GlobalStandard", "capacity": 1}
    body = {"sku": sku, "tags": tags, "properties": {"model": model, "provisioningState": "Succeeded"}}
    azure.resources.store(f"{ACCOUNT}/deployments/{name}", body)
