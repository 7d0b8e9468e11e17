"""The emulator's online endpoints and deployments behave as the service's, seen through azure-ai-ml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    IdentityConfiguration,
    ManagedIdentityConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.azure.arm_client import ARM, GROUP, ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.ml_workspace import (
    A100,
    CPU,
    FLOW,
    WORKSPACE,
    bearer,
    emulated_workspace,
    grant,
    ml_client,
    upload_model,
)

pytestmark = pytest.mark.slow

BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
CONTRACT = {"input_data": {"input_string": [{"role": "user", "content": "Hello?"}], "parameters": {"temperature": 0.7}}}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with emulated_workspace(tmp_path, monkeypatch) as emulator:
        yield emulator


@pytest.fixture
def ml(azure: AzureEmulator) -> MLClient:
    return ml_client()


@pytest.fixture
def identity(azure: AzureEmulator) -> dict[str, Any]:
    """Make a user-assigned identity that may read the workspace's storage and pull from its registry."""
    path = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi3-identity"
    made = ArmClient().put(path, {"location": "eastus2"})
    principal = made["properties"]["principalId"]
    grant(principal, BLOB_READER, f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store")
    grant(principal, ACR_PULL, GROUP)
    return made


def make_endpoint(ml: MLClient, identity: dict[str, Any], name: str = "phi3-endpoint") -> ManagedOnlineEndpoint:
    assigned = [ManagedIdentityConfiguration(resource_id=identity["id"])]
    user = IdentityConfiguration(type="user_assigned", user_assigned_identities=assigned)
    endpoint = ManagedOnlineEndpoint(name=name, auth_mode="key", identity=user)
    return ml.online_endpoints.begin_create_or_update(endpoint).result()


def deployment(name: str = "blue", **changed: Any) -> ManagedOnlineDeployment:
    settings: dict[str, Any] = {
        "name": name,
        "endpoint_name": "phi3-endpoint",
        "model": "azureml:phi3:1",
        "instance_type": A100,
        "instance_count": 1,
        "liveness_probe": ProbeSettings(initial_delay=600),
        "request_settings": OnlineRequestSettings(request_timeout_ms=90000),
        **changed,
    }
    return ManagedOnlineDeployment(**settings)


def scripted(name: str, ml: MLClient, **changed: Any) -> ManagedOnlineDeployment:
    """Return a deployment with a scoring script, in an environment of its own."""
    Path("scoring").mkdir(exist_ok=True)
    Path("scoring/score.py").write_text("def init(): ...\ndef run(body): ...\n", encoding="utf-8")
    ml.environments.create_or_update(Environment(name="serving", version="1", image="mcr.microsoft.com/serving:1"))
    code = CodeConfiguration(code="scoring", scoring_script="score.py")
    return deployment(name, code_configuration=code, environment="azureml:serving:1", **changed)


def deploy(ml: MLClient, wanted: ManagedOnlineDeployment) -> ManagedOnlineDeployment:
    return ml.online_deployments.begin_create_or_update(wanted).result()


def send_traffic(ml: MLClient, **traffic: int) -> dict[str, int]:
    endpoint = ml.online_endpoints.get("phi3-endpoint")
    endpoint.traffic = traffic
    sent: dict[str, int] = ml.online_endpoints.begin_create_or_update(endpoint).result().traffic
    return sent


def score(ml: MLClient, body: Any = CONTRACT, key: str | None = None, **headers: str) -> requests.Response:
    endpoint = ml.online_endpoints.get("phi3-endpoint")
    key = key or ml.online_endpoints.get_keys("phi3-endpoint").primary_key
    sent = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(endpoint.scoring_uri, json=body, headers=sent, timeout=10)


def test_traffic_moves_from_blue_to_green(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    model = upload_model(ml)
    assert make_endpoint(ml, identity).provisioning_state == "Succeeded"
    assert deploy(ml, scripted("blue", ml)).provisioning_state == "Succeeded"
    assert score(ml).status_code == 404
    assert send_traffic(ml, blue=100) == {"blue": 100}
    assert score(ml).json() == {"output": "You said: Hello?"}
    deploy(ml, scripted("green", ml))
    send_traffic(ml, blue=80, green=20)
    answered = [score(ml).headers["azureml-model-deployment"] for _ in range(10)]
    assert answered.count("green") == 2
    azure.answer_chat = lambda deployed, messages, parameters: f"{deployed['name']} {parameters}"
    assert score(ml, azureml_model_deployment="green").json() == {"output": "green {'temperature': 0.7}"}
    with pytest.raises(HttpResponseError, match="'blue' has 80% traffic and cannot be deleted"):
        ml.online_deployments.begin_delete("blue", "phi3-endpoint").result()
    send_traffic(ml, blue=0, green=100)
    ml.online_deployments.begin_delete("blue", "phi3-endpoint").result()
    assert [each.name for each in ml.online_deployments.list("phi3-endpoint")] == ["green"]
    refused = requests.delete(f"{ARM}{model.id}?api-version=2023-08-01-preview", headers=bearer(), timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "Conflict")
    ml.online_endpoints.begin_delete("phi3-endpoint").result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get("phi3-endpoint")
    gone = requests.delete(f"{ARM}{model.id}?api-version=2023-08-01-preview", headers=bearer(), timeout=10)
    assert gone.status_code == 200


@pytest.mark.parametrize("traffic", [{"blue": 90}, {"blue": 50, "green": 60}, {"other": 100}])
def test_traffic_that_does_not_fit_is_refused(ml: MLClient, identity: dict[str, Any], traffic: dict[str, int]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    for name in ("blue", "green"):
        deploy(ml, deployment(name))
    with pytest.raises(HttpResponseError, match="traffic"):
        send_traffic(ml, **traffic)


def test_endpoint_names_are_unique_in_a_region(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    azure.world.taken_names.add("phi3-endpoint")
    with pytest.raises(HttpResponseError, match="There is already an endpoint with this name"):
        make_endpoint(ml, identity)
    path = f"{WORKSPACE}/onlineEndpoints/"
    arm, body = ArmClient(), {"location": "eastus2", "properties": {"authMode": "Key"}}
    for name in ("ab", "3phi", "phi_3", "a" * 33):
        assert "is invalid" in arm.refusal("PUT", path + name, body)[2]
    unknown = {"type": "UserAssigned", "userAssignedIdentities": {f"{identity['id']}-other": {}}}
    assert "does not exist" in arm.refusal("PUT", f"{path}phi3", {**body, "identity": unknown})[2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoint_name": "other"}, "onlineEndpoints/other' was not found"),
        ({"model": "azureml:other:1"}, "models/other/versions/1 could not be found"),
        ({"model": "azureml://registries/azureml/models/Phi-9/versions/1"}, "Model Phi-9 not found"),
        ({"instance_type": "Standard_NC6s_v3"}, "is retired"),
        ({"instance_type": "Standard_NC80adis_H100_v5"}, "is not a supported VM size"),
        ({"instance_count": 5}, "Current usage/limit: 0/96. Additional needed: 120"),
        ({"instance_type": CPU, "instance_count": 21}, "Current usage/limit: 0/100. Additional needed: 104"),
        ({"request_settings": OnlineRequestSettings(request_timeout_ms=180001)}, "must be at most 180 seconds"),
        ({"environment": "azureml:other:1"}, "environments/other/versions/1 could not be found"),
    ],
)
def test_deployment_that_cannot_be_is_refused(
    ml: MLClient, identity: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    with pytest.raises(HttpResponseError, match=message):
        deploy(ml, deployment(**changed))


def test_a100_deployment_takes_the_quota_of_its_cores_alone(
    azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]
) -> None:
    azure.world.quota["Standard NCADSA100v4 Family"] = 24
    upload_model(ml)
    make_endpoint(ml, identity)
    deploy(ml, deployment())
    deploy(ml, deployment(tags={"again": "yes"}))
    usages = [each for each in ml.compute.list_usage(location="eastus2") if "NCADSA100v4" in each.name["value"]]
    assert [each.current_value for each in usages if each.limit > 0] == [24]
    with pytest.raises(HttpResponseError, match="Current usage/limit: 24/24. Additional needed: 24"):
        deploy(ml, deployment("green"))


def test_deployment_fails_as_the_service_shows_it(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    azure.world.failing_deployments = 1
    with pytest.raises(HttpResponseError, match="Liveness probe failed"):
        deploy(ml, deployment())
    assert ml.online_deployments.get("blue", "phi3-endpoint").provisioning_state == "Failed"
    assert "Liveness probe failed" in ml.online_deployments.get_logs("blue", "phi3-endpoint", lines=50)
    with pytest.raises(HttpResponseError, match="has not succeeded"):
        send_traffic(ml, blue=100)
    assert deploy(ml, deployment()).provisioning_state == "Succeeded"


def test_deployment_needs_an_identity_that_may_fetch_the_model(ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    other = ArmClient().put(f"{identity['id']}-2", {"location": "eastus2"})
    make_endpoint(ml, other)
    with pytest.raises(HttpResponseError, match="must have the role 'Storage Blob Data Reader'"):
        deploy(ml, deployment())
    storage = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store"
    grant(other["properties"]["principalId"], BLOB_READER, storage)
    with pytest.raises(HttpResponseError, match="must have the role 'AcrPull'"):
        deploy(ml, deployment())


def test_operation_goes_on_when_its_client_is_gone(ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    body = {
        "location": "eastus2",
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "model": f"{WORKSPACE}/models/phi3/versions/1",
            "instanceType": A100,
        },
    }
    path = f"{WORKSPACE}/onlineEndpoints/phi3-endpoint/deployments/blue"
    assert ArmClient().send("PUT", path, body).json()["properties"]["provisioningState"] == "Creating"
    assert ml.online_deployments.get("blue", "phi3-endpoint").provisioning_state == "Succeeded"


def test_scoring_wants_a_key_and_the_body_of_its_container(
    azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]
) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    deploy(ml, deployment("plain"))
    deploy(ml, scripted("scripted", ml))
    send_traffic(ml, plain=0, scripted=100)
    assert score(ml, key="wrong").status_code == 401
    assert score(ml, azureml_model_deployment="other").status_code == 404
    assert score(ml, {"input_data": {}}).status_code == 424
    refused = score(ml, azureml_model_deployment="plain")
    assert (refused.status_code, refused.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    messages = {"messages": [{"role": "user", "content": "Hello?"}]}
    for name in ("plain", "scripted"):
        taken = score(ml, messages, azureml_model_deployment=name)
        assert taken.json()["choices"][0]["message"]["content"] == "You said: Hello?"
    Path("request.json").write_text(json.dumps(CONTRACT), encoding="utf-8")
    answer = ml.online_endpoints.invoke("phi3-endpoint", request_file="request.json", deployment_name="scripted")
    assert json.loads(answer) == {"output": "You said: Hello?"}


def test_flow_is_served_by_its_own_container(ml: MLClient, identity: dict[str, Any]) -> None:
    make_endpoint(ml, identity)
    routes = {name: {"port": 8080, "path": path} for name, path in (("liveness_route", "/health"),)}
    routes |= {"readiness_route": {"port": 8080, "path": "/health"}, "scoring_route": {"port": 8080, "path": "/score"}}
    image = "mcr.microsoft.com/azureml/promptflow/promptflow-runtime:latest"
    flow = Environment(name="flow", version="1", image=image, inference_config=routes)
    ml.environments.create_or_update(flow)
    folder = Path("flow")
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    ml.models.create_or_update(Model(name="flow", version="1", path=str(folder), type="custom_model"))
    own = {"model": "azureml:flow:1", "environment": "azureml:flow:1", "instance_type": CPU}
    deploy(ml, deployment(**own, environment_variables={"PROMPTFLOW_RUN_MODE": "serving"}))
    send_traffic(ml, blue=100)
    assert score(ml, {"question": "Hello?", "chat_history": []}).json() == {"answer": "You said: Hello?"}
    assert score(ml, {}).status_code == 424


def test_keys_are_changed(ml: MLClient, identity: dict[str, Any]) -> None:
    make_endpoint(ml, identity)
    before = ml.online_endpoints.get_keys("phi3-endpoint")
    path = f"{WORKSPACE}/onlineEndpoints/phi3-endpoint/regenerateKeys"
    assert ArmClient().send("POST", path, {"keyType": "Primary"}).status_code == 202
    after = ml.online_endpoints.get_keys("phi3-endpoint")
    assert after.primary_key != before.primary_key
    assert after.secondary_key == before.secondary_key
