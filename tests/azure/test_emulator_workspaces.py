"""The emulator's workspaces, clusters, quota, connections and prices behave as the services', seen through SDKs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError

from tests.azure.arm_client import GROUP, ML, REGION, ArmClient, make_foundation, workspace_body
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION, World

A100 = "Standard_NC24ads_A100_v4"
FAMILY = "Standard NCADSA100v4 Family"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PRICES = "https://prices.azure.com/api/retail/prices"
CUSTOM: dict[str, Any] = {
    "category": "CustomKeys",
    "authType": "CustomKeys",
    "target": "https://phi3.example/score",
    "metadata": {"endpoint": "https://phi3.example/score"},
    "credentials": {"keys": {"key": "secret-of-the-endpoint"}},
}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with AzureEmulator(tmp_path, World(unregistered=set(), operation_polls=1, poll_ms=1)) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def arm(azure: AzureEmulator) -> ArmClient:
    return ArmClient()


@pytest.fixture
def parts(arm: ArmClient) -> dict[str, str]:
    return make_foundation(arm)


@pytest.fixture
def workspace(arm: ArmClient, parts: dict[str, str]) -> dict[str, Any]:
    return arm.put(f"{ML}/phi3-ws", workspace_body(parts))


def cluster(size: str = A100, *, nodes: int = 1, least: int = 0, priority: str = "Dedicated") -> dict[str, Any]:
    scale = {"minNodeCount": least, "maxNodeCount": nodes, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    settings = {"vmSize": size, "vmPriority": priority, "scaleSettings": scale}
    return {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": settings}}


def test_workspace_is_made_in_the_background_and_filled_in(azure: AzureEmulator, arm: ArmClient, parts: Any) -> None:
    first = arm.send("PUT", f"{ML}/phi3-ws", workspace_body(parts))
    assert first.status_code == 202
    assert first.json()["properties"]["provisioningState"] == "Creating"
    made = arm.put(f"{ML}/other", workspace_body(parts))
    properties = made["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert re.fullmatch(UUID, properties["workspaceId"])
    assert properties["discoveryUrl"] == "https://eastus2.api.azureml.ms/discovery"
    assert properties["mlFlowTrackingUri"] == f"azureml://eastus2.api.azureml.ms/mlflow/v1.0{ML}/other"
    assert re.fullmatch(UUID, made["identity"]["principalId"])
    assert arm.names(ML) == ["phi3-ws", "other"]
    everywhere = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/workspaces"
    assert arm.names(everywhere, kind="hub") == []
    changed = arm.put(f"{ML}/other", {"properties": {"friendlyName": "Phi"}, "tags": {}}, method="PATCH")
    assert (changed["properties"]["friendlyName"], changed["tags"]) == ("Phi", {})
    again = arm.put(f"{ML}/other", workspace_body(parts))
    assert again["properties"]["workspaceId"] == properties["workspaceId"]
    assert again["identity"] == made["identity"]


def test_workspace_with_a_user_assigned_identity(arm: ArmClient, parts: Any) -> None:
    user = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi3-identity"
    body = workspace_body(parts)
    body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {user: {}}}
    assert "does not exist" in arm.refusal("PUT", f"{ML}/phi3-ws", body)[2]
    principal = arm.put(user, {"location": "eastus2"})["properties"]["principalId"]
    assert "primaryUserAssignedIdentity" in arm.refusal("PUT", f"{ML}/phi3-ws", body)[2]
    body["properties"] = {**parts, "primaryUserAssignedIdentity": user}
    assert arm.put(f"{ML}/phi3-ws", body)["identity"]["userAssignedIdentities"][user]["principalId"] == principal


def test_workspace_refuses_what_does_not_do(arm: ArmClient, parts: Any) -> None:
    for change, code, message in (
        ({"location": "mars"}, "LocationNotAvailableForResourceType", "mars"),
        ({"identity": None}, "BadArgument", "support MSI"),
        ({"kind": "Robot"}, "BadArgument", "Robot"),
        ({"colour": "red"}, "InvalidRequestContent", "Could not find member 'colour'"),
        ({"sku": {"name": "Gold"}}, "BadArgument", "Gold"),
        ({"properties": {"storageAccount": "x"}}, "ValidationError", "Missing dependent resources"),
    ):
        refused = arm.refusal("PUT", f"{ML}/phi3-ws", {**workspace_body(parts), **change})
        assert refused[:2] == (400, code)
        assert message in refused[2]


def test_workspace_refuses_names_and_parts_that_do_not_do(azure: AzureEmulator, arm: ArmClient, parts: Any) -> None:
    assert "3 and 33" in arm.refusal("PUT", f"{ML}/-w", workspace_body(parts))[2]
    missing = {**parts, "keyVault": parts["keyVault"] + "x"}
    assert "was not found" in arm.refusal("PUT", f"{ML}/phi3-ws", workspace_body(missing))[2]
    swapped = {**parts, "keyVault": parts["storageAccount"]}
    assert "not the ARM id" in arm.refusal("PUT", f"{ML}/phi3-ws", workspace_body(swapped))[2]
    azure.resources.need(parts["keyVault"])["properties"]["provisioningState"] = "Creating"
    assert "in state Creating" in arm.refusal("PUT", f"{ML}/phi3-ws", workspace_body(parts))[2]
    assert arm.refusal("GET", f"{ML}/phi3-ws")[:2] == (404, "ResourceNotFound")
    assert arm.refusal("GET", f"{ML}/phi3-ws/computes")[:2] == (404, "ParentResourceNotFound")
    assert arm.refusal("GET", f"{ML}/phi3-ws".replace("/rg/", "/none/"))[1] == "ResourceGroupNotFound"


def test_workspace_keeps_storage_and_region(arm: ArmClient, parts: Any, workspace: dict[str, Any]) -> None:
    moved = {**workspace_body(parts), "location": "westus3"}
    assert arm.refusal("PUT", f"{ML}/phi3-ws", moved)[:2] == (409, "InvalidResourceLocation")
    assert "cannot be changed" in arm.refusal("PUT", f"{ML}/phi3-ws", workspace_body(parts, "Hub"))[2]
    assert "cannot be updated" in arm.refusal("PATCH", f"{ML}/phi3-ws", {"properties": {"keyVault": "v"}})[2]


def test_unregistered_provider_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AzureEmulator(tmp_path) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        client = ArmClient()
        assert client.refusal("GET", f"{REGION}/usages")[:2] == (409, "MissingSubscriptionRegistration")


def test_deleted_workspace_holds_its_name_until_it_is_purged(
    azure: AzureEmulator, arm: ArmClient, parts: Any, workspace: dict[str, Any]
) -> None:
    arm.delete(f"{ML}/phi3-ws")
    assert arm.refusal("GET", f"{ML}/phi3-ws")[0] == 404
    with pytest.raises(HttpResponseError, match="Soft-deleted workspace exists. Please purge or recover it") as error:
        arm.put(f"{ML}/phi3-ws", workspace_body(parts))
    assert error.value.error is not None
    assert error.value.error.code == "BadRequest"
    assert arm.refusal("GET", f"{ML}/phi3-ws")[0] == 404
    arm.delete(f"{ML}/phi3-ws", forceToPurge="true")
    again = arm.put(f"{ML}/phi3-ws", workspace_body(parts))
    assert again["properties"]["workspaceId"] != workspace["properties"]["workspaceId"]
    arm.put(f"{ML}/phi3-ws/connections/phi3", {"properties": CUSTOM})
    arm.delete(f"{ML}/phi3-ws", forceToPurge="true")
    assert azure.world.soft_deleted == set()
    assert azure.resources.find(f"{ML}/phi3-ws/connections/phi3") is None
    assert arm.send("DELETE", f"{ML}/phi3-ws").status_code == 204


def test_project_takes_over_what_its_hub_stands_on(arm: ArmClient, parts: Any) -> None:
    project = workspace_body({"hubResourceId": f"{ML}/hub"}, "Project")
    assert "does not exist" in arm.refusal("PUT", f"{ML}/project", project)[2]
    arm.put(f"{ML}/hub", workspace_body(parts, "Hub"))
    elsewhere = {**project, "location": "westus3"}
    assert "region of its hub" in arm.refusal("PUT", f"{ML}/project", elsewhere)[2]
    made = arm.put(f"{ML}/project", project)
    assert made["properties"]["storageAccount"] == parts["storageAccount"]
    assert arm.get(f"{ML}/hub")["properties"]["associatedWorkspaces"] == [f"{ML}/project"]
    assert arm.refusal("DELETE", f"{ML}/hub")[:2] == (409, "Conflict")
    arm.delete(f"{ML}/project")
    arm.delete(f"{ML}/hub")
    assert arm.names(ML) == []


def test_workspace_has_datastores_and_keys(azure: AzureEmulator, arm: ArmClient, workspace: dict[str, Any]) -> None:
    [default] = arm.get(f"{ML}/phi3-ws/datastores", isDefault="true")["value"]
    container = f"azureml-blobstore-{workspace['properties']['workspaceId']}"
    assert default["name"] == "workspaceblobstore"
    assert (default["properties"]["accountName"], default["properties"]["containerName"]) == ("phi3store", container)
    assert len(arm.names(f"{ML}/phi3-ws/datastores")) == 3
    secrets = arm.post(f"{ML}/phi3-ws/datastores/workspaceblobstore/listSecrets", {"expirableSecret": True})
    assert secrets["secretsType"] == "Sas"
    listed = requests.get(
        f"https://phi3store.blob.core.windows.net/{container}?restype=container&comp=list&{secrets['sasToken']}",
        timeout=5,
    )
    assert listed.status_code == 200
    assert "not find datastore" in arm.refusal("GET", f"{ML}/phi3-ws/datastores/none")[2]
    keys = arm.post(f"{ML}/phi3-ws/listKeys")
    assert keys["userStorageKey"] == arm.post(f"{ML}/phi3-ws/listStorageAccountKeys")["userStorageKey"]
    assert keys["containerRegistryCredentials"]["username"] == "phi3registry"
    assert azure.writes[-1].method == "PUT"


def test_cluster_rests_without_nodes(arm: ArmClient, workspace: dict[str, Any]) -> None:
    made = arm.put(f"{ML}/phi3-ws/computes/gpu-cluster", cluster())
    settings = made["properties"]["properties"]
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert (settings["vmSize"], settings["currentNodeCount"]) == (A100.upper(), 0)
    assert settings["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT2M"
    arm.put(f"{ML}/phi3-ws/computes/gpu-cluster", cluster(nodes=2))
    scale = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 3}}}}
    changed = arm.put(f"{ML}/phi3-ws/computes/gpu-cluster", scale, method="PATCH")
    assert changed["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 3
    other = arm.refusal("PUT", f"{ML}/phi3-ws/computes/gpu-cluster", cluster("Standard_DS3_v2"))
    assert (other[0], "cannot be changed" in other[2]) == (409, True)
    assert arm.names(f"{ML}/phi3-ws/computes") == ["gpu-cluster"]
    assert "underlyingResourceAction" in arm.refusal("DELETE", f"{ML}/phi3-ws/computes/gpu-cluster")[2]
    arm.delete(f"{ML}/phi3-ws/computes/gpu-cluster", underlyingResourceAction="Delete")
    assert arm.names(f"{ML}/phi3-ws/computes") == []


def test_cluster_that_cannot_be_had_is_left_failed(arm: ArmClient, workspace: dict[str, Any]) -> None:
    path = f"{ML}/phi3-ws/computes/gpu"
    for body, code, message in (
        (cluster("Standard_NC6s_v3"), "RetiredVmSize", "retired"),
        (cluster("Standard_NC24ads_A100_v5"), "InvalidPropertyValue", "STANDARD_NC24ADS_A100_V4"),
        (cluster(nodes=5), "ClusterCoreQuotaReached", "quota of 96 and is less than the requested"),
        (cluster(nodes=5, priority="LowPriority"), "ClusterCoreQuotaReached", "a total vCPU quota of 96"),
    ):
        with pytest.raises(HttpResponseError, match=message):
            arm.put(path, body)
        left = arm.get(path)["properties"]
        assert left["provisioningState"] == "Failed"
        assert left["provisioningErrors"][0]["error"]["code"] == code
    mended = arm.put(path, cluster())["properties"]
    assert (mended["provisioningState"], mended["provisioningErrors"]) == ("Succeeded", None)


def test_cluster_without_quota_says_what_one_node_needs(azure: AzureEmulator, arm: ArmClient, workspace: Any) -> None:
    azure.world.quota.clear()
    with pytest.raises(HttpResponseError, match="cannot accomodate for at least 1 requested .* 24 vCPUs"):
        arm.put(f"{ML}/phi3-ws/computes/gpu", cluster())


def test_cluster_refuses_what_does_not_do(arm: ArmClient, workspace: Any) -> None:
    for name, change, message in (
        ("gpu-1", {}, "3 and 24 characters"),
        ("ab", {}, "3 and 24 characters"),
        ("gpu", {"vmSize": None}, "vmSize"),
        ("gpu", {"vmPriority": "High"}, "vmPriority"),
        ("gpu", {"scaleSettings": {"maxNodeCount": 1, "minNodeCount": 2}}, "minNodeCount"),
        ("gpu", {"scaleSettings": {"maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "120"}}, "ISO 8601"),
    ):
        body = cluster()
        body["properties"]["properties"] |= change
        refused = arm.refusal("PUT", f"{ML}/phi3-ws/computes/{name}", body)
        assert refused[0] == 400
        assert message in refused[2]


def test_usages_tell_dedicated_from_low_priority(azure: AzureEmulator, arm: ArmClient, workspace: Any) -> None:
    azure.machine_learning.quota.usage_sources.append(lambda location: {FAMILY: 24} if location == "eastus2" else {})
    arm.put(f"{ML}/phi3-ws/computes/gpu", cluster(nodes=2, least=1))
    rows = {
        (each["type"].split("/")[-2], each["name"]["value"]): (each["currentValue"], each["limit"])
        for each in arm.get(f"{REGION}/usages")["value"]
        if "/workspaces/" not in each["type"]
    }
    assert rows["dedicatedCores", "standardNCADSA100v4Family"] == (48, 96)
    assert rows["lowPriorityCores", "standardNCADSA100v4Family"] == (0, -1)
    assert rows["totalDedicatedCores", "TotalDedicatedCores"] == (48, 300)
    assert azure.machine_learning.quota.cores_left("eastus2", FAMILY) == 48
    labels = [each["name"]["localizedValue"] for each in arm.get(f"{REGION}/quotas")["value"]]
    assert f"{FAMILY} Cluster Dedicated vCPUs" in labels
    [size] = [each for each in arm.get(f"{REGION}/vmSizes")["value"] if each["name"] == A100]
    assert (size["family"], size["vCPUs"], size["gpus"]) == ("standardNCADSA100v4Family", 24, 1)
    assert arm.refusal("GET", f"{REGION.replace('eastus2', 'mars')}/usages")[:2] == (400, "NoRegisteredProviderFound")


def test_quota_is_requested_and_granted_or_not(azure: AzureEmulator, arm: ArmClient) -> None:
    path = f"{REGION}/providers/Microsoft.Quota/quotas/standardNCADSA100v4Family"
    assert arm.get(path)["properties"]["limit"]["value"] == 96
    wanted = {"limit": {"limitObjectType": "LimitValue", "value": 192}, "name": {"value": path.rpartition("/")[2]}}
    assert arm.put(path, {"properties": wanted})["properties"]["limit"]["value"] == 192
    assert azure.world.quota[FAMILY] == 192
    assert arm.refusal("PUT", path, {"properties": wanted})[1] == "QuotaReductionNotSupported"
    azure.world.grants_quota = False
    wanted["limit"]["value"] = 960  # type: ignore[index]
    with pytest.raises(HttpResponseError, match="contact support"):
        arm.put(path, {"properties": wanted})
    states = [
        each["properties"]["provisioningState"]
        for each in arm.get(f"{REGION}/providers/Microsoft.Quota/quotaRequests")["value"]
    ]
    assert states == ["Succeeded", "Failed"]


def test_connection_hides_its_keys(arm: ArmClient, workspace: Any) -> None:
    made = arm.put(f"{ML}/phi3-ws/connections/phi3", {"properties": CUSTOM})
    assert made["properties"]["credentials"] is None
    assert made["properties"]["metadata"] == CUSTOM["metadata"]
    assert "secret-of-the-endpoint" not in str(arm.get(f"{ML}/phi3-ws/connections"))
    assert arm.get(f"{ML}/phi3-ws/connections", category="AzureOpenAI")["value"] == []
    secrets = arm.post(f"{ML}/phi3-ws/connections/phi3/listsecrets")
    assert secrets["properties"]["credentials"] == CUSTOM["credentials"]
    assert arm.send("PUT", f"{ML}/phi3-ws/connections/phi3", {"properties": CUSTOM}).status_code == 200
    arm.delete(f"{ML}/phi3-ws/connections/phi3")
    assert arm.refusal("GET", f"{ML}/phi3-ws/connections/phi3")[:2] == (404, "ResourceNotFound")
    assert arm.send("DELETE", f"{ML}/phi3-ws/connections/phi3").status_code == 204


def test_shared_connection_of_a_hub_is_seen_in_its_projects(arm: ArmClient, parts: Any) -> None:
    arm.put(f"{ML}/hub", workspace_body(parts, "Hub"))
    arm.put(f"{ML}/project", workspace_body({"hubResourceId": f"{ML}/hub"}, "Project"))
    arm.put(f"{ML}/hub/connections/shared", {"properties": {**CUSTOM, "isSharedToAll": True}})
    arm.put(f"{ML}/hub/connections/private", {"properties": CUSTOM})
    arm.put(f"{ML}/project/connections/own", {"properties": CUSTOM})
    assert arm.names(f"{ML}/project/connections") == ["own", "shared"]
    assert arm.post(f"{ML}/project/connections/shared/listsecrets")["properties"]["credentials"]["keys"]
    assert arm.refusal("GET", f"{ML}/project/connections/private")[0] == 404


def test_connection_refuses_what_does_not_do(arm: ArmClient, workspace: Any) -> None:
    for change, message in (
        ({"authType": "AAD"}, "'AAD' is not supported for connections of category 'CustomKeys'"),
        ({"authType": "Password"}, "authType"),
        ({"category": "Telepathy"}, "category"),
        ({"target": None}, "target"),
        ({"credentials": {"keys": {}}}, "credentials.keys"),
        ({"credentials": {"keys": {"key": 1}}}, "credentials.keys"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"isSharedToAll": "yes"}, "isSharedToAll"),
        ({"category": "AIServices", "authType": "AAD"}, "ResourceId"),
        ({"category": "AzureOpenAI", "authType": "ApiKey", "credentials": {}}, "credentials.key"),
    ):
        refused = arm.refusal("PUT", f"{ML}/phi3-ws/connections/phi3", {"properties": {**CUSTOM, **change}})
        assert refused[:2] == (400, "BadArgument")
        assert message in refused[2]
    assert "connection name" in arm.refusal("PUT", f"{ML}/phi3-ws/connections/a.b", {"properties": CUSTOM})[2]


def test_prices_mix_systems_and_tiers(azure: AzureEmulator) -> None:
    wanted = f"armRegionName eq 'eastus2' and armSkuName eq '{A100}' and priceType eq 'Consumption'"
    answer = requests.get(PRICES, params={"$filter": wanted}, timeout=5).json()
    rows = {
        (each["productName"].endswith(" Windows"), each["skuName"]): each["retailPrice"] for each in answer["Items"]
    }
    assert len(rows) == answer["Count"] == 6
    assert rows[False, "NC24ads A100 v4"] == 3.673
    assert rows[False, "NC24ads A100 v4 Spot"] < rows[False, "NC24ads A100 v4"] < rows[True, "NC24ads A100 v4"]
    assert requests.get(PRICES, params={"$filter": "armSkuName ne 'x'"}, timeout=5).status_code == 400
    azure.world.prices_reachable = False
    with pytest.raises(requests.ConnectionError):
        requests.get(PRICES, timeout=5)


def test_azure_ai_ml_works_against_it(arm: ArmClient, workspace: dict[str, Any]) -> None:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import AmlCompute
    from azure.identity import DefaultAzureCredential

    arm.put(f"{ML}/phi3-ws/computes/gpu-cluster", cluster())
    arm.put(f"{ML}/phi3-ws/connections/phi3", {"properties": CUSTOM})
    client = MLClient(DefaultAzureCredential(), SUBSCRIPTION, "rg", "phi3-ws")
    assert client.workspaces.get("phi3-ws").location == "eastus2"
    assert [each.name for each in client.workspaces.list()] == ["phi3-ws"]
    found = client.compute.get("gpu-cluster")
    assert (found.size, found.idle_time_before_scale_down, found.max_instances) == (A100.upper(), 120, 1)
    assert [each.name for each in client.compute.list()] == ["gpu-cluster"]
    assert any(each.name["value"] == "standardNCADSA100v4Family" for each in client.compute.list_usage())
    assert A100 in [each.name for each in client.compute.list_sizes()]
    grown = client.compute.begin_update(AmlCompute(name="gpu-cluster", size=A100, max_instances=2)).result()
    assert grown.max_instances == 2
    assert [each.name for each in client.connections.list()] == ["phi3"]
    default = client.datastores.get_default(include_secrets=True)
    assert default.credentials.sas_token.startswith("sv=")
