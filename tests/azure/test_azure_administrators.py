"""What an administrator set stays: only what the settings ask for is compared and changed, by what was read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SIZES
from tests.azure.journey import BASE, STEPS, make_project, take_all
from tests.azure.snapshots import resource, snapshot
from tests.support.command_line import phi3flow

ML = "Microsoft.MachineLearningServices/workspaces"
Edit = Callable[[dict[str, Any]], None]


def setting(**properties: Any) -> Edit:
    return lambda row: row["properties"].update(properties)


def top(**members: Any) -> Edit:
    return lambda row: row.update(members)


EDITS: dict[str, tuple[str, str | None, Edit]] = {
    "TLS version": (
        "Microsoft.Storage/storageAccounts",
        None,
        setting(minimumTlsVersion="TLS1_3", allowBlobPublicAccess=True, networkAcls={"defaultAction": "Deny"}),
    ),
    "storage SKU": ("Microsoft.Storage/storageAccounts", None, top(sku={"name": "Standard_GRS", "tier": "Standard"})),
    "log retention": ("Microsoft.OperationalInsights/workspaces", None, setting(retentionInDays=365)),
    "Premium registry": (
        "Microsoft.ContainerRegistry/registries",
        None,
        lambda row: row.update(sku={"name": "Premium"}, properties={**row["properties"], "adminUserEnabled": False}),
    ),
    "vault policies": ("Microsoft.KeyVault/vaults", None, setting(enablePurgeProtection=True, accessPolicies=[{}])),
    "insights": ("Microsoft.Insights/components", None, setting(RetentionInDays=180, Application_Type="other")),
    "friendly name": (f"{ML}", "phi3flow", setting(friendlyName="The team's", description="Do not touch.")),
    "network access": (f"{ML}", "phi3flow", setting(publicNetworkAccess="Disabled", imageBuildCompute="builder")),
    "hub name": (f"{ML}", "phi3flow-hub", setting(friendlyName="Hub", publicNetworkAccess="Disabled")),
    "project name": (f"{ML}", "phi3flow-project", setting(friendlyName="Project", description="Ours.")),
    "identity": (f"{ML}", "phi3flow", top(identity={"type": "SystemAssigned,UserAssigned"})),
    "tags": (f"{ML}", "phi3flow", lambda row: row["tags"].update(owner="somebody")),
    "scale of the cluster": (
        f"{ML}/computes",
        None,
        lambda row: row["properties"]["properties"]["scaleSettings"].update(
            minNodeCount=1, nodeIdleTimeBeforeScaleDown="PT30M"
        ),
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A subscription in which everything was made and then edited by its administrator, and the project's folder."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        project = tmp_path_factory.mktemp("project")
        make_project(project)
        take_all(azure, project, ["azure up"])
        for kind, name, edit in EDITS.values():
            edit(resource(azure, kind, name))
        yield azure, project


def test_plan_and_up_change_nothing_that_the_settings_do_not_ask_for(made: tuple[AzureEmulator, Path]) -> None:
    azure, project = made
    before, writes = snapshot(azure), len(azure.writes)
    plan = json.loads(phi3flow("azure", "plan", "--json", cwd=project).stdout)
    assert {row["action"] for row in plan["resources"]} == {"exists"}
    assert [finding for finding in plan["findings"] if finding["severity"] == "error"] == []
    assert phi3flow("azure", "up", "--yes", cwd=project).returncode == 0
    assert azure.writes[writes:] == []
    assert snapshot(azure) == before


def test_the_most_nodes_are_set_and_the_rest_of_the_scale_is_echoed(made: tuple[AzureEmulator, Path]) -> None:
    azure, project = made
    writes = len(azure.writes)
    (project / "phi3flow.toml").write_text("[azure]\nmax_nodes = 3\n", encoding="utf-8")
    done = phi3flow("azure", "up", "--yes", cwd=project)
    (project / "phi3flow.toml").unlink()
    assert done.returncode == 0, done.stderr
    (change,) = azure.writes[writes:]
    scale = {"minNodeCount": 1, "maxNodeCount": 3, "nodeIdleTimeBeforeScaleDown": "PT30M"}
    assert (change.method, change.json) == ("PATCH", {"properties": {"properties": {"scaleSettings": scale}}})


def test_a_deployment_leaves_what_was_set_at_its_endpoint(made: tuple[AzureEmulator, Path]) -> None:
    azure, project = made
    take_all(azure, project, ["deploy base"])
    endpoint = resource(azure, f"{ML}/onlineEndpoints")
    endpoint["tags"]["owner"] = "somebody"
    edits = {"description": "Ours.", "publicNetworkAccess": "Disabled", "properties": {"enforce": "yes"}}
    endpoint["properties"].update(**edits, mirrorTraffic={BASE: 10})
    done = phi3flow(*STEPS["deploy base"][:-1], "--traffic", "100", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    after = resource(azure, f"{ML}/onlineEndpoints")
    assert {key: after["properties"][key] for key in edits} == edits
    assert after["properties"]["mirrorTraffic"] == {BASE: 10}
    assert after["properties"]["traffic"] == {BASE: 100}
    assert after["tags"]["owner"] == "somebody"


def test_a_cluster_that_failed_is_put_again_with_all_that_was_read(
    azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.world.quota = {SIZES[0].family: 96}
    take_all(azure, project, ["azure up"])
    cluster = resource(azure, f"{ML}/computes")
    cluster["properties"]["provisioningState"] = "Failed"
    cluster["tags"]["owner"] = "somebody"
    cluster["properties"]["properties"].update(isolatedNetwork=True, remoteLoginPortPublicAccess="Disabled")
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    after = resource(azure, f"{ML}/computes")
    assert after["properties"]["provisioningState"] == "Succeeded"
    assert after["tags"] == {"created-by": "phi3flow", "owner": "somebody"}
    settings = after["properties"]["properties"]
    assert (settings["isolatedNetwork"], settings["remoteLoginPortPublicAccess"]) == (True, "Disabled")


def test_two_ups_at_once_make_everything_once(azure: AzureEmulator, project: Path) -> None:
    command = [sys.executable, "-m", "phi3flow.cli.main", "azure", "up", "--yes"]
    both = [
        subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    plan = json.loads(phi3flow("azure", "plan", "--json", cwd=project).stdout)
    assert {row["action"] for row in plan["resources"]} == {"exists"}
