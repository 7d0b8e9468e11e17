"""azure plan says by which backends a subscription can fine-tune, what can be fine-tuned, and why nothing can."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from phi3flow.azure.openai.offers import TunableModels, tunable_models
from phi3flow.backends.choice import BACKENDS
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.base_models import BASE_MODELS, describe
from tests.azure.emulator.world import CALLER, SUBSCRIPTION, World
from tests.azure.snapshots import resource
from tests.support.command_line import phi3flow

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
KIND = "Microsoft.CognitiveServices/accounts"
ACCOUNT = f"{GROUP}/providers/{KIND}/phi3flow-openai"
NAMED = '[azure]\nopenai_account = "phi3flow-openai"\n'
ANYBODY = ["Llama-3.3-70B-Instruct", "Ministral-3B", "Qwen-32B", "gpt-oss-20b"]


def plan(project: Path, exit_code: int = 0) -> dict[str, Any]:
    done = phi3flow("azure", "plan", "--json", cwd=project)
    assert done.returncode == exit_code, done.stderr
    return dict(json.loads(done.stdout))


def ways(project: Path, exit_code: int = 0) -> dict[str, dict[str, Any]]:
    return {way["backend"]: way for way in plan(project, exit_code)["ways"]}


def configure(project: Path, text: str = NAMED) -> None:
    (project / "phi3flow.toml").write_text(text, encoding="utf-8")


def up(project: Path) -> None:
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr


def test_a_fresh_subscription_can_use_all_of_them_after_up(azure: AzureEmulator, project: Path) -> None:
    told = ways(project)
    assert list(told) == list(BACKENDS)
    assert {backend: way["usable"] for backend, way in told.items()} == dict.fromkeys(BACKENDS, True)
    assert {backend: way["after"] for backend, way in told.items()} == {
        "local": None,
        "azureml": "phi3flow azure up",
        "serverless": "phi3flow azure up",
        "azure-openai": "phi3flow azure up",
    }
    assert told["azureml"]["models"] == ["Phi-4-mini-instruct:1"]
    assert told["serverless"]["models"] == ["Phi-4-mini-instruct"]
    naming = 'name it: openai_account = "NAME" in phi3flow.toml'
    note = f"{naming}; its models cannot be read before Microsoft.CognitiveServices is registered"
    assert (told["azure-openai"]["models"], told["azure-openai"]["note"]) == ([], note)
    assert azure.writes == []


def test_a_person_reads_them_in_a_table(azure: AzureEmulator, project: Path) -> None:
    configure(project, '[azure]\nlocation = "northeurope"\nfine_tune_size = "Standard_D2_v2"\n')
    azure.providers.registered.add("Microsoft.MachineLearningServices")
    shown = phi3flow("azure", "plan", cwd=project).stdout
    assert re.search(r"ways to fine-tune +usable", shown)
    assert re.search(r"local +yes", shown)
    assert re.search(r"azureml +no +what stands below", shown)
    assert re.search(r"serverless +no +region northeurope of the project phi3flow-project", shown)


def test_after_up_each_is_ready_with_its_models(azure: AzureEmulator, project: Path) -> None:
    configure(project)
    up(project)
    writes, requests = len(azure.writes), len(azure.requests)
    told = ways(project)
    assert {way["after"] for way in told.values()} == {None}
    assert {way["usable"] for way in told.values()} == {True}
    assert told["azure-openai"]["models"] == ANYBODY
    assert len(azure.writes) == writes
    asked = [request.path for request in azure.requests[requests:] if KIND.partition("/")[0] in request.path]
    assert len([path for path in asked if path.endswith(("/models", "/usages", "/permissions"))]) <= 5


@pytest.mark.slow
def test_up_is_asked_nothing_about_the_ways(azure: AzureEmulator, project: Path) -> None:
    configure(project)
    up(project)
    openai = [request.path for request in azure.requests if "Microsoft.CognitiveServices" in request.path]
    assert not [path for path in openai if path.endswith(("/models", "/usages"))]


def test_a_region_without_services_says_where_they_are(azure: AzureEmulator, project: Path) -> None:
    configure(project, NAMED + 'location = "northeurope"\nfine_tune_size = "Standard_D2_v2"\n')
    azure.providers.registered.add("Microsoft.CognitiveServices")
    told = ways(project, exit_code=1)
    (reason,) = told["serverless"]["reasons"]
    assert "fine-tuned as a service in eastus, eastus2, northcentralus, southcentralus, westus, westus3 only" in reason
    assert "set hub, project and location in phi3flow.toml" in reason
    (reason,) = told["azure-openai"]["reasons"]
    assert reason.startswith("region northeurope: Azure OpenAI fine-tunes no model there. ")
    assert "az cognitiveservices account create --kind AIServices" in reason
    assert [told[backend]["usable"] for backend in ("serverless", "azure-openai")] == [False, False]


@pytest.mark.slow
@pytest.mark.parametrize("region", ["eastus2", "westus3"])
def test_no_region_of_the_models_tag_is_warned_about(azure: AzureEmulator, project: Path, region: str) -> None:
    configure(project, f'[azure]\nlocation = "{region}"\n')
    told = plan(project)
    assert not [finding for finding in told["findings"] if "serverless" in finding["why"]]
    assert told["ways"][2]["usable"]


def test_a_model_that_is_no_service_names_one_that_is(azure: AzureEmulator, project: Path) -> None:
    configure(project, '[azure]\nmodel = "Phi-3-mini-4k-instruct"\nmodel_label = "15"\n')
    told = ways(project)
    assert told["azureml"]["usable"]
    (reason,) = told["serverless"]["reasons"]
    assert "Azure does not offer it as a service since 2025-08-30" in reason
    assert "Take Phi-4-mini-instruct" in reason


@pytest.mark.slow
def test_a_gpu_quota_of_none_stands_against_the_cluster_only(azure: AzureEmulator, project: Path) -> None:
    up(project)
    azure.world.quota.clear()
    told = ways(project, exit_code=1)
    assert not told["azureml"]["usable"]
    assert "Ask for 24 in the portal, Quotas > Machine learning > eastus2" in told["azureml"]["reasons"][0]
    assert (told["serverless"]["usable"], told["serverless"]["after"]) == (True, None)


def test_a_subscription_without_gpus_may_have_azure_openai(azure: AzureEmulator, project: Path) -> None:
    azure.world.quota_id = "MSDN_2014-09-01"
    told = ways(project, exit_code=1)
    assert [told[backend]["usable"] for backend in BACKENDS] == [True, False, False, True]
    assert "pay-as-you-go" in told["serverless"]["reasons"][0]


def test_what_existing_customers_only_fine_tune_is_no_promise_to_a_newcomer(
    azure: AzureEmulator, project: Path
) -> None:
    azure.world.openai_existing_customer = False
    configure(project)
    up(project)
    told = ways(project)["azure-openai"]
    assert told["models"] == ANYBODY
    assert not [model for model in told["models"] if model.startswith("gpt-4")]


def test_models_are_parted_by_who_can_fine_tune_them_and_dropped_when_nobody_can() -> None:
    rows = [describe(model, World(), "eastus2") for model in BASE_MODELS]
    rows.append({**rows[3], "name": "gpt-4.1-mini.ft-1", "baseModel": {"name": "gpt-4.1-mini"}})
    of_4o, of_41 = ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"], ["gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14"]
    closed = sorted([*of_41, "gpt-4.1-nano-2025-04-14", *of_4o])
    assert tunable_models(rows, date(2026, 11, 29)) == TunableModels(ANYBODY, closed)
    assert tunable_models(rows, date(2027, 4, 10)).existing_customers == sorted([*of_41, "gpt-4.1-nano-2025-04-14"])
    assert tunable_models(rows, date(2027, 5, 1)) == TunableModels(ANYBODY, [])
    before = [{**row, "lifecycleStatus": "GenerallyAvailable"} for row in rows]
    assert tunable_models(before, date(2026, 9, 1)).existing_customers == []
    assert tunable_models([describe(model, World(), "northeurope") for model in BASE_MODELS], date(2026, 11, 29)) == (
        TunableModels([], [])
    )


@pytest.mark.slow
def test_a_resource_of_the_older_kind_says_what_a_newcomer_needs(azure: AzureEmulator, project: Path) -> None:
    configure(project)
    up(project)
    resource(azure, KIND)["kind"] = "OpenAI"
    told = plan(project)
    way = told["ways"][3]
    assert way["models"] == []
    assert not [name for name in way["existing_customers"] if not name.startswith("gpt-4")]
    (finding,) = [finding for finding in told["findings"] if finding["what"] == "Azure OpenAI resource phi3flow-openai"]
    assert finding["severity"] == "warning"
    assert "of the kind OpenAI, not AIServices" in finding["why"]
    assert "set openai_account to a new name" in finding["remedy"]


@pytest.mark.slow
def test_a_resource_is_found_by_its_endpoint(
    azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project)
    up(project)
    configure(project, "")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://phi3flow-openai.openai.azure.com/")
    told = ways(project)["azure-openai"]
    assert (told["usable"], told["after"], told["models"]) == (True, None, ANYBODY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://elsewhere.openai.azure.com/")
    told_of = plan(project)
    assert told_of["ways"][3]["usable"]
    (finding,) = [finding for finding in told_of["findings"] if finding["what"] == "AZURE_OPENAI_ENDPOINT"]
    assert f"no resource of subscription {SUBSCRIPTION} has it" in finding["why"]


@pytest.mark.slow
def test_who_may_not_train_by_login_is_told_of_role_and_key(
    azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owner and Contributor allow nothing in the resource itself; a resource that is found by its endpoint gets no
    role of up."""
    configure(project)
    up(project)
    configure(project, "")
    for row in list(azure.resources):
        if row["type"].endswith("/roleAssignments") and "Cognitive" in str(azure.roles.of(CALLER)):
            azure.resources.delete(row["id"], asynchronous=False)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://phi3flow-openai.openai.azure.com/")
    told = ways(project)["azure-openai"]
    assert not told["usable"]
    assert "you may not do Microsoft.CognitiveServices/accounts/OpenAI/fine-tunes/write" in told["reasons"][0]
    assert f"--role 'Cognitive Services OpenAI Contributor' --scope {ACCOUNT}" in told["reasons"][0]
    configure(project)
    assert ways(project)["azure-openai"]["after"] == "phi3flow azure up"
    configure(project, "")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-thirty-two-characters-0")
    assert ways(project)["azure-openai"]["usable"]


@pytest.mark.slow
def test_who_has_a_role_on_the_group_only_sees_what_there_is_to_see(azure: AzureEmulator, project: Path) -> None:
    configure(project)
    up(project)
    azure.world.roles = {GROUP: "Owner"}
    for row in list(azure.resources):
        if row["id"].startswith(f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization"):
            azure.resources.delete(row["id"], asynchronous=False)
    told = plan(project)
    by_backend = {way["backend"]: way for way in told["ways"]}
    assert {way["usable"] for way in by_backend.values()} == {True}
    assert by_backend["azure-openai"]["models"] == ANYBODY
    (finding,) = [finding for finding in told["findings"] if finding["what"] == "quota of fine-tuned models in eastus2"]
    assert "--role 'Cognitive Services Usages Reader'" in finding["remedy"]
    for action in ("up", "down"):
        done = phi3flow("azure", action, "--yes", cwd=project)
        assert done.returncode == 0, done.stderr
    configure(project, "")
    openai = ways(project)["azure-openai"]
    assert openai["models"] == []
    assert openai["note"].endswith("you have no role on the subscription and may not read its models")


@pytest.mark.slow
def test_quota_of_fine_tuned_models_that_is_none_is_a_finding(azure: AzureEmulator, project: Path) -> None:
    configure(project)
    up(project)
    azure.world.openai_quota |= dict.fromkeys(("OpenAI.Standard.gpt4.1-finetune", "AIServices.Standard.Qwen-32B"), 0)
    told = plan(project)
    (finding,) = [finding for finding in told["findings"] if finding["what"].startswith("quota of fine-tuned models")]
    assert finding["why"] == "there is none of 1 kind: OpenAI.Standard.gpt4.1-finetune"
    assert told["ways"][3]["usable"]


_PERMISSIONS = "/providers/Microsoft.Authorization/permissions"
_HUBS = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "what"),
    [
        (f"{ACCOUNT}/models", "models of Azure OpenAI in eastus2"),
        (f"{ACCOUNT}{_PERMISSIONS}", "--backend azure-openai"),
        (f"{_HUBS}/phi3flow-project{_PERMISSIONS}", "--backend serverless"),
        (
            f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.CognitiveServices/locations/eastus2/usages",
            "quota of fine-tuned models in eastus2",
        ),
    ],
)
def test_a_look_up_that_is_refused_is_a_warning(azure: AzureEmulator, project: Path, path: str, what: str) -> None:
    configure(project)
    up(project)
    error = {"error": {"code": "BadRequest", "message": "Something broke."}}
    azure.fault = lambda request: Reply(400, error) if request.path == path else None
    told = plan(project)
    (finding,) = told["findings"]
    assert (finding["severity"], finding["what"]) == ("warning", what)
    assert "Something broke." in finding["why"]


def test_a_project_that_cannot_be_read_is_a_warning_and_a_reason(azure: AzureEmulator, project: Path) -> None:
    up(project)
    hub = f"{_HUBS}/phi3flow-hub"
    error = {"error": {"code": "BadRequest", "message": "Something broke."}}
    seen: list[str] = []

    def fault(request: Request) -> Reply | None:
        seen.append(request.path)
        return Reply(400, error) if request.path == hub and seen.count(hub) > 1 else None

    azure.fault = fault
    told = plan(project)
    assert not told["ways"][2]["usable"]
    assert "it could not be looked at" in told["ways"][2]["reasons"][0]
    assert [finding["what"] for finding in told["findings"]] == ["--backend serverless"]


@pytest.mark.slow
def test_a_hub_with_a_key_of_the_customers_is_a_reason(azure: AzureEmulator, project: Path) -> None:
    up(project)
    resource(azure, "Microsoft.MachineLearningServices/workspaces", "phi3flow-hub")["properties"]["encryption"] = {
        "status": "Enabled"
    }
    told = ways(project)["serverless"]
    assert not told["usable"]
    assert "encrypted with a key of your own" in told["reasons"][0]
