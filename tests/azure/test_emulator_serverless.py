"""The emulator's serverless fine-tuning and endpoints behave as the service's, seen through ARM and azure-ai-ml."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml.entities import MarketplaceSubscription, ServerlessEndpoint
from azure.ai.ml.finetuning import FineTuningTaskType, create_finetuning_job
from azure.core.exceptions import HttpResponseError
from openai import OpenAI

from tests.azure.arm_client import GROUP, ML, ArmClient, workspace_body
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.emulator.world import CONTRIBUTOR, SIZES, SUBSCRIPTION
from tests.azure.ml_workspace import WORKSPACE, bearer, emulated_workspace, ml_client, upload
from tests.azure.openapi import validate

pytestmark = pytest.mark.slow

SPECS = os.environ.get("AZURE_SPECS_DIR", "")
NEWEST = "2024-10-01-preview"
PHI4 = "azureml://registries/azureml/models/Phi-4-mini-instruct"
MINISTRAL = "azureml://registries/azureml/models/Ministral-3B"
EXAMPLE = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}
LINES = "\ufeff" + json.dumps(EXAMPLE) + "\n"
TRACKING = f"https://eastus2.api.azureml.ms/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow"
HARMFUL = "how to make dynamite"


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with emulated_workspace(tmp_path, monkeypatch) as emulator:
        put_file(emulator, "train.jsonl")
        put_file(emulator, "validation.jsonl")
        taken: list[Request] = []
        emulator.after_write = taken.append
        yield emulator
    if SPECS:
        assert validate(taken, Path(SPECS)).problems == []


@pytest.fixture
def arm(azure: AzureEmulator) -> ArmClient:
    return ArmClient(NEWEST)


def put_file(azure: AzureEmulator, name: str, text: str = LINES, workspace: str = WORKSPACE) -> None:
    account, container, path = azure.assets.place(workspace, at_store(name))
    azure.blobs.put(account, container, path, text.encode())


def at_store(name: str) -> str:
    return f"azureml://datastores/workspaceblobstore/paths/{name}"


def changed(body: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return a body with other values by path, whose steps two underscores part; None takes one out."""
    body = json.loads(json.dumps(body))
    for path, value in values.items():
        *steps, last = path.split("__")
        place = body
        for step in steps:
            place = place[step]
        place.pop(last, None) if value is None else place.update({last: value})
    return body


def job_body(name: str = "phi4-tuned", **values: Any) -> dict[str, Any]:
    """Return what to send for a job that registers a model of that name."""
    properties = {
        "jobType": "FineTuning",
        "displayName": "tune",
        "experimentName": "phi4",
        "tags": {"by": "me"},
        "fineTuningDetails": {
            "modelProvider": "Custom",
            "taskType": "chatCompletion",
            "model": {"jobInputType": "mlflow_model", "uri": f"{PHI4}/versions/1"},
            "trainingData": {"jobInputType": "uri_file", "uri": at_store("train.jsonl")},
            "validationData": {"jobInputType": "uri_file", "uri": at_store("validation.jsonl")},
            "hyperParameters": {"per_device_train_batch_size": "1", "num_train_epochs": "2"},
        },
        "outputs": {"registered_model": {"jobOutputType": "mlflow_model", "assetName": name}},
        "queueSettings": {"jobTier": "Standard"},
    }
    return {"properties": changed(properties, **values)}


def fine_tune(arm: ArmClient, job: str = "ft-1", name: str = "phi4-tuned", workspace: str = WORKSPACE) -> str:
    """Run a job to its end and return the id to deploy its model by."""
    arm.send("PUT", f"{workspace}/jobs/{job}", job_body(name)).raise_for_status()
    while arm.get(f"{workspace}/jobs/{job}")["properties"]["status"] != "Completed":
        pass
    place = arm.get(workspace)
    guid = place["properties"]["workspaceId"]
    return f"azureml://locations/{place['location']}/workspaces/{guid}/models/{name}/versions/1"


def endpoint_body(model_id: str = PHI4, **values: Any) -> dict[str, Any]:
    body = {
        "location": "eastus2",
        "sku": {"name": "Consumption"},
        "tags": {"by": "me"},
        "properties": {"authMode": "Key", "modelSettings": {"modelId": model_id}},
    }
    return changed(body, **values)


def path_of(name: str, workspace: str = WORKSPACE) -> str:
    return f"{workspace}/serverlessEndpoints/{name}"


def ask(
    arm: ArmClient, text: str = "Hello?", name: str = "phi4", route: str = "/v1", **given: Any
) -> requests.Response:
    """Ask an endpoint; ``headers`` are sent besides its key, the rest in the body."""
    endpoint, key = arm.get(path_of(name)), arm.post(f"{path_of(name)}/listKeys")["primaryKey"]
    headers = {"Authorization": f"Bearer {key}", **given.pop("headers", {})}
    body = {"messages": [{"role": "user", "content": text}], **given}
    uri = endpoint["properties"]["inferenceEndpoint"]["uri"]
    return requests.post(f"{uri}{route}/chat/completions", json=body, headers=headers, timeout=10)


def make_project(arm: ArmClient, name: str = "project", location: str = "eastus2") -> str:
    """Make a project in a hub, which stands on what the workspace stands on, and return its id."""
    parts = ("storageAccount", "keyVault")
    properties = {part: arm.get(WORKSPACE)["properties"][part] for part in parts}
    place = {"location": location}
    arm.put(f"{ML}/{name}-hub", {**workspace_body(properties, "Hub"), **place})
    hub = {"hubResourceId": f"{ML}/{name}-hub"}
    return str(arm.put(f"{ML}/{name}", {**workspace_body(hub, "Project"), **place})["id"])


def test_job_goes_through_its_states_to_a_model(azure: AzureEmulator, arm: ArmClient) -> None:
    made = arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
    assert (made.status_code, made.json()["properties"]["status"]) == (201, "NotStarted")
    seen = [arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]["status"] for _ in range(11)]
    assert list(dict.fromkeys(seen)) == ["NotStarted", "Queued", "Preparing", "Running", "Finalizing", "Completed"]
    output = arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]["outputs"]["registered_model"]
    assert (output["jobOutputType"], output["assetName"]) == ("mlflow_model", "phi4-tuned")
    assert azure.assets.exists(WORKSPACE, output["uri"])
    model = arm.get(f"{WORKSPACE}/models/phi4-tuned/versions/1")["properties"]
    assert (model["modelType"], model["jobName"], model["properties"]["baseModelId"]) == ("mlflow_model", "ft-1", PHI4)


def test_job_logs_losses_and_keeps_checkpoints(azure: AzureEmulator, arm: ArmClient) -> None:
    def tracked(what: str, **query: str) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(
            f"{TRACKING}/{what}", {"run_id": "ft-1", **query}, headers=bearer(), timeout=10
        ).json()
        return answer

    arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
    assert tracked("metrics/get-history", metric_key="train_loss") == {"metrics": []}
    assert tracked("artifacts/list", path="checkpoints")["files"] == []
    while arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]["status"] != "Completed":
        pass
    rows = tracked("metrics/get-history", metric_key="train_loss")["metrics"]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert rows[0].keys() == {"key", "value", "step", "timestamp"}
    assert [row["step"] for row in tracked("metrics/get-history", metric_key="eval_loss")["metrics"]] == [10, 20]
    assert tracked("artifacts/list")["files"] == [{"path": "checkpoints", "is_dir": True}]
    kept = [file["path"] for file in tracked("artifacts/list", path="checkpoints")["files"]]
    assert kept == ["checkpoints/checkpoint-10", "checkpoints/checkpoint-20"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fineTuningDetails": None}, "'fineTuningDetails' is required"),
        ({"outputs": None}, "'outputs' is required"),
        ({"epochs": 2}, "Could not find member 'epochs'"),
        ({"fineTuningDetails__lora": "yes"}, "Could not find member 'fineTuningDetails.lora'"),
        ({"fineTuningDetails__modelProvider": "AzureOpenAI"}, "must be Custom"),
        ({"fineTuningDetails__taskType": "TextCompletion"}, "is not one of ChatCompletion"),
        ({"fineTuningDetails__validationData": None}, "validationData' is required"),
        ({"fineTuningDetails__trainingData__jobInputType": "mltable"}, "must be uri_file"),
        ({"fineTuningDetails__trainingData__uri": at_store("other.jsonl")}, "there is no file at"),
        ({"fineTuningDetails__trainingData__uri": f"{WORKSPACE}/data/none/versions/1"}, "could not be found"),
        ({"fineTuningDetails__model__jobInputType": "custom_model"}, "must be mlflow_model"),
        ({"fineTuningDetails__model__uri": PHI4}, "is no version of a registry's model"),
        ({"fineTuningDetails__model__uri": f"{PHI4}/versions/99"}, "Phi-4-mini-instruct:99 not found"),
        (
            {"fineTuningDetails__model__uri": f"{PHI4.replace('instruct', 'reasoning')}/versions/1"},
            "not supported for serverless fine-tuning",
        ),
        ({"fineTuningDetails__hyperParameters": {"num_train_epochs": 2}}, "must be a string"),
        ({"fineTuningDetails__hyperParameters": {"num_train_epochs": "11"}}, "from 1 to 10"),
        ({"fineTuningDetails__hyperParameters": {"per_device_train_batch_size": "33"}}, "from 1 to 32"),
        ({"fineTuningDetails__hyperParameters": {"learning_rate": "fast"}}, "is no float"),
        ({"fineTuningDetails__hyperParameters": {"learning_rate_multiplier": "1"}}, "unknown"),
        ({"outputs": {"registered_model": {"jobOutputType": "mlflow_model"}}}, "at least one of type mlflow_model"),
        ({"outputs__registered_model__assetName": "a b"}, "it must match"),
        ({"queueSettings__jobTier": "Gold"}, "is not one of Null, Spot"),
    ],
)
def test_job_that_cannot_run_is_refused(arm: ArmClient, values: dict[str, Any], message: str) -> None:
    status, _, said = arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-1", job_body(**values))
    assert status in (400, 404)
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES.removeprefix("\ufeff"), "byte-order mark"),
        ("\ufeff\n", "no examples"),
        (LINES + "{\n", "line 2: no JSON"),
        (LINES + '{"prompt": "a"}\n', "line 2: no object with a list of 'messages'"),
        (LINES.replace('"user"', '"human"'), "role must be one of"),
        (LINES.replace('"Who?"', '""'), "content must be a text"),
        ('\ufeff{"messages": [{"role": "user", "content": "a"}]}\n', "must be an assistant's"),
        (LINES * 100, "larger than 5000 bytes"),
    ],
)
def test_job_on_data_that_is_no_chat_is_refused(azure: AzureEmulator, arm: ArmClient, text: str, message: str) -> None:
    azure.world.serverless_data_bytes = 5000
    put_file(azure, "validation.jsonl", text)
    status, _, said = arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
    assert status == 400
    assert said.startswith("fineTuningDetails.validationData")
    assert message in said


def test_only_newer_previews_know_the_type_of_job(azure: AzureEmulator, arm: ArmClient) -> None:
    for version in ("2024-04-01", "2024-04-01-preview", "2024-10-01"):
        status, _, message = ArmClient(version).refusal("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
        assert (status, message) == (400, "The job type 'FineTuning' is none of Pipeline, Command.")
    arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body()).raise_for_status()
    assert "fineTuningDetails" in arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]
    older = ArmClient("2024-01-01-preview").get(f"{WORKSPACE}/jobs/ft-1")["properties"]
    assert older["jobType"] == "FineTuning"
    assert older.keys().isdisjoint({"fineTuningDetails", "outputs", "queueSettings"})


def test_job_runs_where_its_model_may_be_fine_tuned(azure: AzureEmulator, arm: ArmClient) -> None:
    project = make_project(arm)
    put_file(azure, "train.jsonl", workspace=project)
    put_file(azure, "validation.jsonl", workspace=project)
    fine_tune(arm, workspace=project)
    message = arm.refusal("PUT", f"{ML}/project-hub/jobs/ft-1", job_body())[2]
    assert "is a hub" in message
    azure.world.sizes["swedencentral"] = SIZES
    elsewhere = make_project(arm, "sweden", "swedencentral")
    message = arm.refusal("PUT", f"{elsewhere}/jobs/ft-1", job_body())[2]
    assert "cannot be fine-tuned in region swedencentral" in message
    azure.providers.registered.discard("Microsoft.Network")
    assert arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())[1] == "MissingSubscriptionRegistration"


def test_name_of_a_model_is_given_once(arm: ArmClient) -> None:
    arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
    status, _, message = arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-2", job_body())
    assert (status, message) == (409, "The model name 'phi4-tuned' is taken by job ft-1, which has not ended.")
    while arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]["status"] != "Completed":
        pass
    status, _, message = arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-2", job_body())
    assert (status, "already exists" in message) == (409, True)


def test_job_keeps_its_definition(arm: ArmClient) -> None:
    for _ in range(2):
        arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body()).raise_for_status()
    assert arm.names(f"{WORKSPACE}/jobs") == ["ft-1"]
    longer = job_body(fineTuningDetails__hyperParameters={"num_train_epochs": "3"})
    message = arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-1", longer)[2]
    assert "the existing job's FineTuningDetails cannot be changed" in message


def test_job_fails_or_is_canceled_without_a_model(azure: AzureEmulator, arm: ArmClient) -> None:
    azure.world.job_failure = "The provided training data failed RAI checks."
    arm.send("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())
    while arm.get(f"{WORKSPACE}/jobs/ft-1")["properties"]["status"] != "Failed":
        pass
    details = f"https://eastus2.api.azureml.ms/history/v1.0{WORKSPACE}/runs/ft-1/details"
    error = requests.get(details, headers=bearer(), timeout=10).json()["error"]["error"]
    assert error["message"] == "The provided training data failed RAI checks."
    arm.send("PUT", f"{WORKSPACE}/jobs/ft-2", job_body())
    assert arm.send("POST", f"{WORKSPACE}/jobs/ft-2/cancel").status_code == 202
    assert arm.get(f"{WORKSPACE}/jobs/ft-2")["properties"]["status"] == "Canceled"
    assert arm.send("GET", f"{WORKSPACE}/models/phi4-tuned/versions/1").status_code == 404


def test_developers_of_the_group_may_fine_tune_and_deploy(azure: AzureEmulator, arm: ArmClient) -> None:
    root = f"/subscriptions/{SUBSCRIPTION}"
    azure.world.roles = {root: "Reader"}
    assert arm.refusal("PUT", f"{WORKSPACE}/jobs/ft-1", job_body())[0] == 403
    assert arm.refusal("PUT", path_of("phi4"), endpoint_body())[0] == 403
    for role in ("Azure AI Developer", CONTRIBUTOR):
        azure.world.roles = {root: "Reader", GROUP: role}
        arm.put(path_of("phi4"), endpoint_body())
        assert arm.post(f"{path_of('phi4')}/listKeys").keys() == {"primaryKey", "secondaryKey"}
        arm.delete(path_of("phi4"))


def test_endpoint_of_a_fine_tuned_model_holds_on_to_it(azure: AzureEmulator, arm: ArmClient) -> None:
    model_id = fine_tune(arm)
    first = arm.send("PUT", path_of("phi4"), endpoint_body(model_id))
    assert (first.status_code, first.json()["properties"]["endpointState"]) == (201, "Creating")
    assert "Azure-AsyncOperation" in first.headers
    made = arm.get(path_of("phi4"))
    assert (made["properties"]["endpointState"], made["properties"]["provisioningState"]) == ("Online", "Succeeded")
    place = {"uri": "https://phi4.eastus2.models.ai.azure.com", "headers": {}}
    assert made["properties"]["inferenceEndpoint"] == place
    status, code, message = arm.refusal("PUT", path_of("again"), endpoint_body(model_id))
    assert (status, code) == (409, "Conflict")
    assert "deployed to the serverless endpoint 'phi4' already" in message
    status, code, message = arm.refusal("DELETE", f"{WORKSPACE}/models/phi4-tuned/versions/1")
    assert (status, code) == (409, "Conflict")
    assert path_of("phi4") in message
    arm.delete(path_of("phi4"))
    assert arm.names(f"{WORKSPACE}/serverlessEndpoints") == []
    assert arm.send("DELETE", f"{WORKSPACE}/models/phi4-tuned/versions/1").status_code == 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"properties__authMode": None}, "'properties.authMode' is not one of"),
        ({"properties__authMode": "Password"}, "'properties.authMode' is not one of"),
        ({"properties__contentSafety": {"contentSafetyStatus": "Off"}}, "contentSafetyStatus' is not one of"),
        ({"properties__contentSafety": {"status": "Enabled"}}, "Could not find member 'status'"),
        ({"properties__offer": {"publisher": "a"}}, "Could not find member 'offer'"),
        ({"properties__modelSettings__modelId": f"{PHI4}/versions/1"}, "points to a specific model version"),
        ({"properties__modelSettings__modelId": f"{PHI4}-none"}, "was not found"),
        ({"properties__modelSettings__modelId": PHI4.replace("Phi-4", "Phi-3.5")}, "is retired"),
        ({"properties__modelSettings__modelId": f"{WORKSPACE}/models/phi4/versions/1"}, "is not valid"),
        ({"properties__modelSettings": None}, "'properties.modelSettings' is required"),
        ({"sku__name": "Default"}, "'sku.name' is not one of Consumption"),
        ({"location": "westus3"}, "must be in the workspace's region 'eastus2'"),
        ({"scale": 1}, "Could not find member 'scale'"),
    ],
)
def test_endpoint_that_cannot_be_made_is_refused(arm: ArmClient, values: dict[str, Any], message: str) -> None:
    status, _, said = arm.refusal("PUT", path_of("phi4"), endpoint_body(**values))
    assert (status, message in said) == (400, True), said


def test_endpoint_is_made_where_there_is_room(azure: AzureEmulator, arm: ArmClient) -> None:
    assert "it must match" in arm.refusal("PUT", path_of("4phi"), endpoint_body())[2]
    azure.world.foundry_deployments_feature = True
    assert "'Deploy models to Foundry resources'" in arm.refusal("PUT", path_of("phi4"), endpoint_body())[2]
    azure.world.foundry_deployments_feature = False
    arm.put(path_of("phi4"), endpoint_body())
    assert "already" in arm.refusal("PUT", path_of("again"), endpoint_body())[2]
    project = make_project(arm)
    other = endpoint_body(PHI4.replace("-mini-instruct", ""))
    assert arm.refusal("PUT", path_of("PHI4", project), other)[0] == 409
    assert "is a hub" in arm.refusal("PUT", path_of("new", f"{ML}/project-hub"), endpoint_body())[2]
    arm.put(path_of("new", project), endpoint_body())
    azure.world.serverless_endpoints_limit = 2
    assert arm.refusal("PUT", path_of("more"), other)[1] == "QuotaExceeded"
    azure.world.sizes["swedencentral"] = SIZES
    away = {"location": "swedencentral"}
    arm.put(path_of("sweden", make_project(arm, "sweden", "swedencentral")), endpoint_body(**away))
    north = make_project(arm, "north", "northeurope")
    refused = arm.refusal("PUT", path_of("north", north), endpoint_body(location="northeurope"))[2]
    assert "not available in region 'northeurope'" in refused


def test_endpoint_that_fails_says_so_and_can_be_made_anew(azure: AzureEmulator, arm: ArmClient) -> None:
    azure.world.failing_serverless = 1
    with pytest.raises(HttpResponseError, match="could not be created"):
        arm.put(path_of("phi4"), endpoint_body())
    failed = arm.get(path_of("phi4"))["properties"]
    assert (failed["endpointState"], failed["provisioningState"]) == ("CreationFailed", "Failed")
    assert arm.put(path_of("phi4"), endpoint_body())["properties"]["endpointState"] == "Online"


def test_patch_changes_tags_identity_and_sku(arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body(properties__contentSafety={"contentSafetyStatus": "Disabled"}))
    tagged = arm.put(path_of("phi4"), {"tags": {"more": "yes"}, "identity": {"type": "SystemAssigned"}}, method="PATCH")
    assert (tagged["tags"], bool(tagged["identity"]["principalId"])) == ({"more": "yes"}, True)
    assert tagged["properties"]["contentSafety"] == {"contentSafetyStatus": "Disabled"}
    assert "member 'properties'" in arm.refusal("PATCH", path_of("phi4"), {"properties": {}})[2]
    assert (
        "cannot be changed"
        in arm.refusal("PUT", path_of("phi4"), endpoint_body(PHI4.removesuffix("-mini-instruct")))[2]
    )
    reset = arm.put(path_of("phi4"), endpoint_body())["properties"]
    assert (reset["contentSafety"], reset["endpointState"]) == ({"contentSafetyStatus": "Enabled"}, "Online")


def test_other_publishers_models_need_a_subscription(arm: ArmClient) -> None:
    subscription = f"{WORKSPACE}/marketplaceSubscriptions/ministral"
    refused = arm.refusal("PUT", subscription, {"properties": {"modelId": PHI4}})
    assert "needs no subscription" in refused[2]
    assert "subscribe the workspace" in arm.refusal("PUT", path_of("ministral"), endpoint_body(MINISTRAL))[2]
    made = arm.put(subscription, {"properties": {"modelId": MINISTRAL}})["properties"]
    assert (made["marketplaceSubscriptionStatus"], made["provisioningState"]) == ("Subscribed", "Succeeded")
    endpoint = arm.put(path_of("ministral"), endpoint_body(MINISTRAL))["properties"]
    assert endpoint["marketplaceSubscriptionId"] == subscription
    key = arm.post(f"{path_of('ministral')}/listKeys")["primaryKey"]
    info = f"{endpoint['inferenceEndpoint']['uri']}/info"
    told = requests.get(info, headers={"api-key": key}, timeout=10).json()
    assert told == {
        "model_name": "Ministral-3B",
        "model_provider_name": "mistralai",
        "model_type": "chat-completion",
    }
    arm.delete(subscription)
    assert arm.get(path_of("ministral"))["properties"]["endpointState"] == "Suspended"
    assert requests.get(info, headers={"api-key": key}, timeout=10).status_code == 404


def test_chat_answers_in_openais_shape(azure: AzureEmulator, arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body())
    seen: list[tuple[str, dict[str, Any]]] = []
    azure.answer_chat = lambda deployed, messages, parameters: (
        seen.append((deployed["name"], parameters)) or "One two three."
    )
    answer = ask(arm, temperature=0.5).json()
    assert seen == [("phi4", {"temperature": 0.5})]
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "One two three."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    cut = ask(arm, max_tokens=2, route="").json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("One two", "length")
    assert ask(arm, messages=[]).status_code == 422
    assert ask(arm, temperature=3).status_code == 422


def test_openais_client_talks_to_the_endpoint(arm: ArmClient) -> None:
    uri = arm.put(path_of("phi4"), endpoint_body())["properties"]["inferenceEndpoint"]["uri"]
    client = OpenAI(base_url=f"{uri}/v1", api_key=arm.post(f"{path_of('phi4')}/listKeys")["primaryKey"])
    answer = client.chat.completions.create(
        model="phi4", messages=[{"role": "user", "content": "Hello?"}], temperature=0.0, max_tokens=7
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said: Hello?", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4


def test_key_is_taken_in_each_of_its_forms(arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body())
    keys = arm.post(f"{path_of('phi4')}/listKeys")
    url = "https://phi4.eastus2.models.ai.azure.com/v1/chat/completions"

    def status(**headers: str) -> int:
        body = {"messages": [{"role": "user", "content": "a"}]}
        return requests.post(url, json=body, headers=headers, timeout=10).status_code

    second = keys["secondaryKey"]
    forms: list[dict[str, str]] = [
        {"Authorization": f"Bearer {keys['primaryKey']}"},
        {"Authorization": second},
        {"api-key": second},
    ]
    assert [status(**form) for form in forms] == [200, 200, 200]
    assert (status(), status(Authorization="Bearer wrong")) == (401, 401)
    assert arm.send("POST", f"{path_of('phi4')}/regenerateKeys", {"keyType": "Secondary"}).status_code == 202
    assert [status(**form) for form in forms] == [200, 401, 401]


def test_extra_parameters_are_errors_unless_said_otherwise(azure: AzureEmulator, arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body())
    azure.answer_chat = lambda deployed, messages, parameters: str(sorted(parameters))
    refused = ask(arm, max_completion_tokens=7)
    assert refused.status_code == 400
    assert "Extra parameters ['max_completion_tokens'] are not allowed" in refused.json()["error"]["message"]
    passed = ask(arm, top_k=7, headers={"extra-parameters": "pass-through"}).json()
    assert passed["choices"][0]["message"]["content"] == "['top_k']"
    dropped = ask(arm, top_k=7, headers={"extra-parameters": "drop"}).json()
    assert dropped["choices"][0]["message"]["content"] == "[]"
    assert ask(arm, route="", logprobs=True).status_code == 400


def test_log_probabilities_are_answered_where_the_model_has_them(azure: AzureEmulator, arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body())
    azure.answer_chat = lambda *_: "Paris is."
    assert ask(arm, logprobs=True).json()["choices"][0]["logprobs"] is None
    azure.world.serverless_logprobs = True
    rows = ask(arm, logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert [row["token"] for row in rows] == ["Paris", " is."]
    assert (rows[0]["bytes"], len(rows[0]["top_logprobs"])) == (list(b"Paris"), 2)


@pytest.mark.parametrize("status", ["Enabled", "Disabled"])
def test_content_safety_filters_prompts_and_answers(azure: AzureEmulator, arm: ArmClient, status: str) -> None:
    arm.put(path_of("phi4"), endpoint_body(properties__contentSafety={"contentSafetyStatus": status}))
    azure.world.blocked_words = {"dynamite"}
    azure.answer_chat = lambda *_: "Take some dynamite and run."
    prompt, answer = ask(arm, HARMFUL), ask(arm, "What now?").json()["choices"][0]
    if status == "Disabled":
        assert (prompt.status_code, answer["finish_reason"]) == (200, "stop")
        return
    error = prompt.json()["error"]
    assert (prompt.status_code, error["code"], error["status"]) == (400, "content_filter", 400)
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Take some", "content_filter")
    assert answer["content_filter_results"]["hate"]["filtered"]


def test_requests_over_the_rate_limit_wait(azure: AzureEmulator, arm: ArmClient) -> None:
    arm.put(path_of("phi4"), endpoint_body())
    azure.world.serverless_rpm, azure.world.serverless_window_s = 2, 600.0
    answers = [ask(arm) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert 590 < int(answers[2].headers["Retry-After"]) <= 600
    azure.world.serverless_window_s = 0.0
    assert ask(arm).status_code == 200


def test_azure_ai_ml_fine_tunes_and_deploys(azure: AzureEmulator, arm: ArmClient) -> None:
    ml = ml_client()
    for name in ("train", "validation"):
        upload(ml, LINES, name=name)
    job = create_finetuning_job(
        task=FineTuningTaskType.CHAT_COMPLETION,
        model=f"{PHI4}/versions/1",
        training_data="azureml:train:1",
        validation_data="validation.jsonl",
        hyperparameters={"num_train_epochs": "1"},
        output_model_name_prefix="phi4-sdk",
        name="ft-sdk",
        experiment_name="phi4",
    )
    assert ml.jobs.create_or_update(job).status == "NotStarted"
    ml.jobs.stream("ft-sdk")
    done = ml.jobs.get("ft-sdk")
    assert (done.status, done.outputs["registered_model"]["name"]) == ("Completed", "phi4-sdk")
    model = ml.models.get("phi4-sdk", "1")
    model_id = f"azureml://locations/eastus2/workspaces/{ml.workspaces.get('phi3-ws')._workspace_id}/models/phi4-sdk"
    endpoint = ServerlessEndpoint(name="sdk", model_id=f"{model_id}/versions/{model.version}")
    made = ml.serverless_endpoints.begin_create_or_update(endpoint).result()
    assert (made.provisioning_state, made.scoring_uri) == ("succeeded", "https://sdk.eastus2.models.ai.azure.com")
    assert ml.serverless_endpoints.get_keys("sdk").primary_key
    assert arm.get(path_of("sdk"))["properties"]["contentSafety"] == {"contentSafetyStatus": "Enabled"}
    body = endpoint_body(properties__contentSafety={"contentSafetyStatus": "Disabled"})
    status, _, message = ArmClient("2024-01-01-preview").refusal("PUT", path_of("raw"), body)
    assert (status, "member 'contentSafety'" in message) == (400, True)
    subscription = MarketplaceSubscription(name="ministral", model_id=MINISTRAL)
    assert ml.marketplace_subscriptions.begin_create_or_update(subscription).result().status == "subscribed"
    ml.serverless_endpoints.begin_delete("sdk").result()
    ml.jobs.archive("ft-sdk")
    assert list(ml.jobs.list()) == []
    assert list(ml.serverless_endpoints.list()) == []


def test_older_versions_know_less_of_endpoints(arm: ArmClient) -> None:
    without_mode = endpoint_body(properties__authMode=None)
    code = ArmClient("2023-08-01").refusal("PUT", path_of("phi4"), without_mode)[1]
    assert code == "NoRegisteredProviderFound"
    body = endpoint_body(properties__contentSafety={"contentSafetyStatus": "Disabled"})
    for version in ("2024-01-01-preview", "2024-04-01-preview"):
        message = ArmClient(version).refusal("PUT", path_of("phi4"), body)[2]
        assert "Could not find member 'contentSafety'" in message
    assert "authMode" in ArmClient("2024-04-01").refusal("PUT", path_of("phi4"), without_mode)[2]
    ArmClient("2024-04-01").put(path_of("phi4"), body)
    reset = ArmClient("2024-04-01-preview").put(path_of("phi4"), without_mode)["properties"]
    assert reset["contentSafety"] == {"contentSafetyStatus": "Enabled"}


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
def test_microsofts_types_of_the_newest_version_have_what_is_sent(azure: AzureEmulator, arm: ArmClient) -> None:
    safety = {"contentSafetyStatus": "Disabled"}
    arm.put(path_of("phi4"), endpoint_body(fine_tune(arm), properties__contentSafety=safety))
    arm.put(f"{WORKSPACE}/marketplaceSubscriptions/ministral", {"properties": {"modelId": MINISTRAL}})
    held = validate([request for request in azure.requests if request.method == "PUT"], Path(SPECS))
    assert (held.problems, held.n_bodies, len(held.operations)) == ([], 3, 3)
    assert {covered.source for covered in held.operations} == {
        f"bicep-types/microsoft.machinelearningservices@{NEWEST}.json"
    }


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (path_of("phi4"), endpoint_body(properties__authMode=None)),
        (path_of("phi4"), endpoint_body(properties__contentSafety={})),
        (f"{WORKSPACE}/jobs/ft-1", job_body(fineTuningDetails__trainingData=None)),
        (f"{WORKSPACE}/jobs/ft-1", job_body(fineTuningDetails__hyperParameters={"num_train_epochs": 2})),
        (f"{WORKSPACE}/jobs/ft-1", job_body(outputs=None)),
        (f"{WORKSPACE}/marketplaceSubscriptions/ministral", {"properties": {}}),
    ],
)
def test_what_microsofts_types_refuse_is_refused(arm: ArmClient, path: str, body: dict[str, Any]) -> None:
    query = {"api-version": NEWEST}
    sent = Request("PUT", "management.azure.com", path, query, {}, json.dumps(body).encode())
    assert validate([sent], Path(SPECS)).problems
    assert arm.refusal("PUT", path, body)[0] == 400
