"""The workspace's region counts, whatever the settings say, and what stands in it is used and left as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.journey import STEPS, answer_rightly, make_project, take_all, take_step
from tests.azure.snapshots import resource
from tests.support.command_line import phi3flow

ML = "Microsoft.MachineLearningServices/workspaces"
LEARN = ("prepare-data", "fine-tune", "register", "deploy base", "status", "connect")


@pytest.fixture
def elsewhere(azure: AzureEmulator, project: Path) -> AzureEmulator:
    """A workspace in westus3, and settings that have their default, eastus2."""
    make_project(project)
    azure.answer_chat = answer_rightly
    (project / "phi3flow.toml").write_text('[azure]\nlocation = "westus3"\n', encoding="utf-8")
    take_all(azure, project, ["azure up"])
    (project / "phi3flow.toml").unlink()
    return azure


def test_every_verb_goes_where_the_workspace_is(elsewhere: AzureEmulator, project: Path) -> None:
    requests = len(elsewhere.requests)
    assert "everything is there" in take_step(elsewhere, project, "azure up").done.stdout
    for verb in LEARN:
        take_step(elsewhere, project, verb)
    since = elsewhere.requests[requests:]
    bodies = [request.json for request in since if request.method in ("PUT", "PATCH") and "/providers/" in request.path]
    assert {body["location"] for body in bodies if "location" in body} == {"westus3"}
    regions = {request.host.split(".")[-5] for request in since if request.host.endswith(".inference.ml.azure.com")}
    assert regions == {"westus3"}
    data_planes = {request.host for request in since if request.host.endswith(".api.azureml.ms")}
    assert data_planes == {"westus3.api.azureml.ms", "eastus.api.azureml.ms"}, "the second is the registry's"
    assert {part for request in since for part in request.path.split("/") if part == "eastus2"} == set()
    assert not [request for request in since if "eastus2" in str(request.query.get("$filter", ""))]


@pytest.mark.slow
def test_a_cluster_is_made_where_the_workspace_is(elsewhere: AzureEmulator, project: Path) -> None:
    (project / "phi3flow.toml").write_text('[azure]\ncompute = "another"\n', encoding="utf-8")
    take_step(elsewhere, project, "azure up")
    assert resource(elsewhere, f"{ML}/computes", "another")["location"] == "westus3"


@pytest.mark.slow
def test_roles_on_a_storage_that_others_made_go_with_down(azure: AzureEmulator, project: Path) -> None:
    take_all(azure, project, ["azure up"])
    ours = {f"{ML}/computes", "Microsoft.Authorization/roleAssignments"}
    for row in list(azure.resources):
        row.pop("tags", None)
        if row["type"] in ours or row["name"] in ("phi3flow-hub", "phi3flow-project", "phi3flow-identity"):
            azure.resources.delete(row["id"], asynchronous=False)
    names = '[azure]\nstorage_account = "another1"\nkey_vault = "another1"\ncontainer_registry = "another1"\n'
    (project / "phi3flow.toml").write_text(names, encoding="utf-8")
    before = {row["id"] for row in azure.resources}
    take_step(azure, project, "azure up")
    assert len([row for row in azure.resources if "roleAssignments" in row["id"]]) == 4
    assert phi3flow(*STEPS["azure down"], cwd=project).returncode == 0
    assert {row["id"] for row in azure.resources} == before


@pytest.mark.slow
def test_a_registry_that_an_administrator_gave_the_workspace_is_used(azure: AzureEmulator, project: Path) -> None:
    take_all(azure, project, ["azure up"])
    registry = resource(azure, "Microsoft.ContainerRegistry/registries")
    theirs = registry["id"].replace(registry["name"], "theirregistry")
    azure.resources.store(theirs, {key: registry[key] for key in ("location", "sku", "properties")})
    resource(azure, ML, "phi3flow")["properties"]["containerRegistry"] = theirs
    plan = json.loads(phi3flow("azure", "plan", "--json", cwd=project).stdout)
    (missing,) = [row for row in plan["resources"] if row["action"] != "exists"]
    assert missing["name"] == "AcrPull on theirregistry to phi3flow-identity"
    take_step(azure, project, "azure up")
    assert resource(azure, ML, "phi3flow")["properties"]["containerRegistry"] == theirs
    take_step(azure, project, "azure down")
    assert [row["name"] for row in azure.resources if "registries" in row["type"]] == ["theirregistry"]
