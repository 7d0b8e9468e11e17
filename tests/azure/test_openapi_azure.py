"""The check of recorded requests, on Microsoft's files: what Azure takes passes, and what it refuses does not."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.messages import Request
from tests.azure.openapi import Checked, Specifications
from tests.azure.test_openapi import GROUP, HOST, SUBSCRIPTION

SPECS = os.environ.get("AZURE_SPECS_DIR", "")
needs_specs = pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")

ML = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/mlw-demo"
CLUSTER = f"{ML}/computes/gpu-cluster"
DEPLOYMENT = f"{ML}/onlineEndpoints/phi3-demo/deployments/blue"
ROLE = f"{ML}/providers/Microsoft.Authorization/roleAssignments/6f4c1a52-7f7e-4d4f-9f0f-0d4f8f1f2a3b"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-demo"
QUOTA = f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/eastus/providers/Microsoft.Quota/quotas/standardNCFamily"
MODEL = f"{GROUP}/providers/Microsoft.CognitiveServices/accounts/aoai-demo/deployments/gpt-4o"
CHAT = "/openai/deployments/gpt/chat/completions"
JOBS = "/openai/v1/fine_tuning/jobs"
FLOW_RUN = f"/flow/api{ML}/BulkRuns/submit"

A_CLUSTER: dict[str, Any] = {
    "location": "eastus",
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
    "properties": {
        "computeType": "AmlCompute",
        "properties": {
            "vmSize": "Standard_NC24ads_A100_v4",
            "vmPriority": "LowPriority",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT10M"},
        },
    },
}
A_DEPLOYMENT: dict[str, Any] = {
    "location": "eastus",
    "sku": {"name": "Default", "capacity": 1},
    "properties": {
        "endpointComputeType": "Managed",
        "model": "azureml:phi3:1",
        "instanceType": "Standard_NC24ads_A100_v4",
        "requestSettings": {"requestTimeout": "PT1M30S", "maxConcurrentRequestsPerInstance": 4},
        "codeConfiguration": {"codeId": f"{ML}/codes/c/versions/1", "scoringScript": "score.py"},
        "environmentVariables": {"MODEL": "phi3"},
    },
}
A_ROLE = {"properties": {"roleDefinitionId": "/role", "principalId": "someone", "principalType": "ServicePrincipal"}}
A_QUOTA = {
    "properties": {"limit": {"limitObjectType": "LimitValue", "value": 48}, "name": {"value": "standardNCFamily"}}
}
A_MODEL = {
    "sku": {"name": "Standard", "capacity": 10},
    "properties": {"model": {"format": "OpenAI", "name": "gpt-4o", "version": "2024-08-06"}},
}
A_CHAT = {"messages": [{"role": "user", "content": "Hi"}], "stop": ["end"]}
A_FLOW_RUN = {"runId": "r", "batchDataInput": {"dataUri": "azureml://data"}, "sessionSetupMode": "SystemWait"}


def _with(path: str, value: object, body: dict[str, Any]) -> dict[str, Any]:
    body = copy.deepcopy(body)
    *steps, last = path.split(".")
    place = body
    for step in steps:
        place = place[step]
    place[last] = value
    return body


RIGHT = [
    ("PUT", CLUSTER, "2023-08-01-preview", A_CLUSTER),
    ("PUT", CLUSTER, "2024-04-01-preview", A_CLUSTER),
    ("PUT", CLUSTER, "2024-04-01", A_CLUSTER),
    ("PUT", CLUSTER, "2025-01-01-preview", A_CLUSTER),
    ("PUT", CLUSTER, "2023-10-01", A_CLUSTER),
    ("DELETE", f"{CLUSTER}?underlyingResourceAction=Delete", "2023-08-01-preview", None),
    ("PUT", DEPLOYMENT, "2022-02-01-preview", A_DEPLOYMENT),
    ("PUT", DEPLOYMENT, "2024-04-01-preview", A_DEPLOYMENT),
    ("PUT", DEPLOYMENT, "2024-04-01", A_DEPLOYMENT),
    ("PUT", ROLE, "2022-04-01", A_ROLE),
    ("PUT", IDENTITY, "2023-01-31", {"location": "eastus"}),
    ("PUT", IDENTITY, "2024-11-30", {"location": "eastus"}),
    ("PUT", QUOTA, "2023-02-01", A_QUOTA),
    ("PUT", QUOTA, "2025-09-01", A_QUOTA),
    ("PUT", MODEL, "2023-05-01", A_MODEL),
    ("PUT", MODEL, "2024-10-01", A_MODEL),
    ("PUT", GROUP, "2024-03-01", {"location": "eastus"}),
    ("POST", f"{SUBSCRIPTION}/providers/Microsoft.Quota/register", "2021-04-01", None),
    ("POST", FLOW_RUN, "", A_FLOW_RUN),
    ("POST", "/openai/fine_tuning/jobs", "2024-02-01", {"model": "gpt-35-turbo", "training_file": "file-1"}),
    ("POST", CHAT, "2024-06-01", A_CHAT),
    (
        "POST",
        "/openai/v1/fine_tuning/jobs",
        "",
        {"model": "gpt-4.1", "training_file": "file-1", "trainingType": "Standard"},
    ),
    ("GET", f"{JOBS}/ftjob-1/events?limit=5", "", None),
    ("POST", "/openai/v1/chat/completions", "", {"model": "gpt", **A_CHAT}),
]


def _real(method: str, path: str, version: str, body: object) -> Checked:
    hosts = {"/flow": "eastus.api.azureml.ms", "/open": "aoai-demo.openai.azure.com"}
    path, _, query = path.partition("?")
    asked = {"api-version": version} if version else {}
    asked |= dict([query.split("=")]) if query else {}
    sent = b"" if body is None else json.dumps(body).encode()
    checked = Specifications(Path(SPECS)).check(Request(method, hosts.get(path[:5], HOST), path, asked, {}, sent))
    assert checked is not None
    return checked


@needs_specs
@pytest.mark.parametrize(("method", "path", "version", "body"), RIGHT)
def test_azure_takes_what_is_right(method: str, path: str, version: str, body: object) -> None:
    assert _real(method, path, version, body).problems == []


WRONG = [
    (
        ("PUT", CLUSTER, "2024-04-01-preview", _with("properties.properties.vmSise", "Standard_NC6", A_CLUSTER)),
        "$.properties.properties.vmSise: 'Standard_NC6' is of no known property; meant: vmSize?",
    ),
    (
        ("PUT", CLUSTER, "2024-04-01", _with("properties.properties.vmSise", "Standard_NC6", A_CLUSTER)),
        "$.properties.properties.vmSise: 'Standard_NC6' is of no known property; meant: vmSize?",
    ),
    (
        ("PUT", CLUSTER, "2024-04-01", _with("properties.properties.vmPriority", "Spot", A_CLUSTER)),
        "$.properties.properties.vmPriority: 'Spot' is none of 'Dedicated', 'LowPriority'",
    ),
    (
        ("PUT", CLUSTER, "2023-08-01-preview", _with("properties.computeType", "amlcompute", A_CLUSTER)),
        "$.properties.computeType: 'amlcompute' is none of 'AKS', 'AmlCompute', 'ComputeInstance', 'DataFactory', "
        "'DataLakeAnalytics', 'Databricks', 'HDInsight', 'Kubernetes', …",
    ),
    (
        ("PUT", f"{CLUSTER}-1", "2023-08-01-preview", A_CLUSTER),
        "path computeName: 'gpu-cluster-1' does not match ^[a-zA-Z](?![a-zA-Z0-9-]*-\\d+$)[a-zA-Z0-9\\-]{2,23}$",
    ),
    (
        ("PUT", CLUSTER, "2023-10-01", _with("properties.properties.scaleSettings.maxNodeCount", "2", A_CLUSTER)),
        "$.properties.properties.scaleSettings.maxNodeCount: '2' is no integer",
    ),
    (("DELETE", CLUSTER, "2023-08-01-preview", None), "query underlyingResourceAction: is missing"),
    (
        ("PUT", DEPLOYMENT, "2022-02-01-preview", _with("properties.requestSettings.requestTimeout", 90, A_DEPLOYMENT)),
        "$.properties.requestSettings.requestTimeout: 90 is no string",
    ),
    (
        ("PUT", DEPLOYMENT, "2024-04-01-preview", _with("location", None, A_DEPLOYMENT)),
        "$.location: None may not be null",
    ),
    (("PUT", DEPLOYMENT, "2024-04-01", {"location": "eastus"}), "$.properties: is missing"),
    (
        ("PUT", ROLE, "2022-04-01", _with("properties.principalType", "Robot", A_ROLE)),
        "$.properties.principalType: 'Robot' is none of 'User', 'Group', 'ServicePrincipal', 'ForeignGroup', 'Device'",
    ),
    (("PUT", IDENTITY, "2023-01-31", {"tags": {"a": "b"}}), "$.location: is missing"),
    (("PUT", IDENTITY, "2024-11-30", {"tags": {"a": "b"}}), "$.location: is missing"),
    (
        ("PUT", QUOTA, "2023-02-01", _with("properties.limit.value", "48", A_QUOTA)),
        "$.properties.limit.value: '48' is no integer",
    ),
    (("PATCH", MODEL, "2024-10-01", {"sku": {"capacity": 5}}), "$.sku.name: is missing"),
    (
        ("PUT", MODEL, "2024-10-01", _with("sku.capacity", "10", A_MODEL)),
        "$.sku.capacity: '10' is no number",
    ),
    (
        ("PUT", f"{ML}/computed/gpu-cluster", "2024-04-01-preview", A_CLUSTER),
        f"path: '{ML}/computed/gpu-cluster' fits no PUT of this version",
    ),
    (
        ("POST", FLOW_RUN, "", _with("sessionSetupMode", "Wait", A_FLOW_RUN)),
        "$.sessionSetupMode: 'Wait' is none of 'ClientWait', 'SystemWait'",
    ),
    (("POST", JOBS, "", {"model": "gpt-4.1"}), "$.training_file: is missing"),
    (("POST", CHAT, "2024-06-01", _with("stop", 5, A_CHAT)), "$.stop: 5 fits none of 2 alternatives"),
    (
        ("POST", CHAT, "2024-06-01", {"messages": [{"role": "robot"}]}),
        "$.messages[0].role: 'robot' is none of 'assistant', 'function', 'system', 'tool', 'user'",
    ),
]


@needs_specs
@pytest.mark.parametrize(("asked", "problem"), WRONG)
def test_azure_refuses_what_is_wrong(asked: tuple[str, str, str, object], problem: str) -> None:
    assert _real(*asked).problems == [problem]


@needs_specs
@pytest.mark.parametrize(
    ("path", "version", "source"),
    [
        (CLUSTER, "2024-04-01-preview", "2024-04-01-preview/machineLearningServices.json"),
        (CLUSTER, "2024-04-01", "bicep-types/microsoft.machinelearningservices@2024-04-01.json"),
        (CLUSTER, "2023-10-01", "nearest: 2023-08-01-preview/machineLearningServices.json"),
        (CLUSTER, "2025-12-01", "nearest: 2024-04-01-preview/machineLearningServices.json"),
        (DEPLOYMENT, "2022-02-01-preview", "2022-02-01-preview/mfe.json"),
    ],
)
def test_which_file_is_held_against_a_version(path: str, version: str, source: str) -> None:
    assert _real("PUT", path, version, A_CLUSTER).source == source
