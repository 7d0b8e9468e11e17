"""The emulator's accounts, models and deployments of Azure OpenAI behave as the resource manager's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import openai
import pytest
from azure.core.exceptions import HttpResponseError

from tests.azure.arm_client import ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION, World
from tests.azure.openai_account import (
    ACCOUNT,
    ACCOUNTS,
    ENDPOINT,
    SUBDOMAIN,
    account_body,
    client_of,
    deploy,
    deployment_body,
    fine_tune,
    make_account,
)
from tests.azure.openapi import validate

pytestmark = pytest.mark.slow

SPECS = os.environ.get("AZURE_SPECS_DIR", "")
PROVIDER = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.CognitiveServices"
REGION = f"{PROVIDER}/locations/eastus2"
DEPLOYMENTS = f"{ACCOUNT}/deployments"
RETIRED = "gpt-4o-mini"


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:

    with AzureEmulator(tmp_path, World(unregistered=set(), operation_polls=1, poll_ms=1)) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def arm(azure: AzureEmulator) -> ArmClient:
    return ArmClient("2025-06-01")


@pytest.fixture
def client(arm: ArmClient) -> openai.OpenAI:
    return client_of(ENDPOINT, make_account(arm))


def base_body(name: str, version: str, **changed: Any) -> dict[str, Any]:
    return deployment_body(name, version=version, **changed)


def pages(arm: ArmClient, path: str) -> list[dict[str, Any]]:
    """Return a list's rows, page after page."""
    rows, page = [], arm.get(path)
    while True:
        rows += page["value"]
        if "nextLink" not in page:
            return rows
        _, _, query = page["nextLink"].partition("?")
        asked = dict(pair.split("=") for pair in query.split("&"))
        page = arm.get(path, **{"$skip": asked["$skip"]})


def test_account_has_hosts_and_keys_of_its_own(azure: AzureEmulator, arm: ArmClient) -> None:
    make_account(arm)
    account = arm.get(ACCOUNT)
    assert account["properties"]["endpoint"] == ENDPOINT
    assert account["properties"]["endpoints"]["OpenAI Language Model Instance API"] == ENDPOINT
    keys = arm.post(f"{ACCOUNT}/listKeys")
    changed = arm.post(f"{ACCOUNT}/regenerateKey", {"keyName": "Key2"})
    assert (changed["key1"] == keys["key1"], changed["key2"] == keys["key2"]) == (True, False)
    with pytest.raises(openai.AuthenticationError):
        client_of(ENDPOINT, keys["key2"]).files.list()
    foundry = arm.put(f"{ACCOUNTS}/foundry", account_body("AIServices", "foundry"))
    assert foundry["properties"]["endpoints"]["AI Foundry API"] == "https://foundry.services.ai.azure.com/"
    plain = account_body()
    del plain["properties"]["customSubDomainName"]
    regional = arm.put(f"{ACCOUNTS}/regional", plain)
    assert regional["properties"]["endpoint"] == "https://eastus2.api.cognitive.microsoft.com/"
    assert arm.names(ACCOUNTS) == arm.names(f"{PROVIDER}/accounts") == [SUBDOMAIN, "foundry", "regional"]
    if SPECS:
        assert validate(azure.requests, Path(SPECS)).problems == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "Robot"}, "InvalidApiSetId"),
        ({"kind": None}, "InvalidRequestContent"),
        ({"sku": {"name": "F0"}}, "InvalidSkuId"),
        ({"location": "mars"}, "LocationNotAvailableForResourceType"),
        ({"colour": "red"}, "InvalidRequestContent"),
        ({"properties": {"customSubDomainName": "a_b"}}, "BadRequest"),
        ({"properties": {"customSubDomainName": "theirs"}}, "CustomDomainInUse"),
        ({"properties": {"customSubDomainName": SUBDOMAIN}}, "CustomDomainInUse"),
    ],
)
def test_account_that_cannot_be_is_refused(
    azure: AzureEmulator, arm: ArmClient, change: dict[str, Any], code: str
) -> None:
    azure.world.taken_names.add("theirs")
    make_account(arm)
    assert arm.refusal("PUT", f"{ACCOUNTS}/other", {**account_body(subdomain="other"), **change})[1] == code


def test_account_that_was_deleted_holds_its_name_until_it_is_purged(arm: ArmClient, client: openai.OpenAI) -> None:
    arm.put(f"{DEPLOYMENTS}/judge", base_body("gpt-5-mini", "2025-08-07"))
    assert arm.refusal("DELETE", ACCOUNT)[:2] == (409, "CannotDeleteResource")
    arm.delete(f"{DEPLOYMENTS}/judge")
    arm.delete(ACCOUNT)
    assert arm.refusal("PUT", ACCOUNT, account_body())[1] == "FlagMustBeSetForRestore"
    arm.put(ACCOUNT, account_body(restore=True))
    assert arm.put(ACCOUNT, {"tags": {"a": "b"}}, method="PATCH")["properties"]["customSubDomainName"] == SUBDOMAIN
    arm.delete(ACCOUNT)
    deleted = f"{REGION}/resourceGroups/rg/deletedAccounts/{SUBDOMAIN}"
    assert arm.get(deleted)["name"] == SUBDOMAIN
    arm.delete(deleted)
    assert arm.refusal("GET", deleted)[0] == 404
    arm.put(ACCOUNT, account_body())


@pytest.mark.parametrize(("version", "is_one"), [("2024-10-01", True), ("2025-09-01", True), ("2024-10-21", False)])
def test_versions_of_the_data_plane_are_none_of_the_resource_manager(
    client: openai.OpenAI, version: str, is_one: bool
) -> None:
    arm = ArmClient(version)
    if is_one:
        assert arm.get(ACCOUNT)["name"] == SUBDOMAIN
    else:
        assert arm.refusal("GET", ACCOUNT)[1] == "InvalidApiVersionParameter"


def test_models_of_a_region_and_of_an_account_are_listed_by_pages(arm: ArmClient, client: openai.OpenAI) -> None:
    tuned = fine_tune(client)
    rows = {row["name"]: row for row in pages(arm, f"{ACCOUNT}/models")}
    assert rows[RETIRED]["capabilities"]["fineTune"] == "true"
    assert rows[RETIRED]["deprecation"] == {"fineTune": "2027-04-01T00:00:00Z", "inference": "2026-10-01T00:00:00Z"}
    assert rows[tuned]["baseModel"] == {"format": "OpenAI", "name": "gpt-4.1-mini", "version": "2025-04-14"}
    assert "gpt-oss-20b" not in rows
    everywhere = pages(arm, f"{REGION}/models")
    assert {(row["kind"], row["model"]["name"]) for row in everywhere} >= {("AIServices", "gpt-oss-20b")}


def test_quota_is_used_and_refused(azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI) -> None:
    usage = "OpenAI.Standard.gpt4.1-mini-finetune"
    azure.world.openai_quota[usage] = 10
    model = fine_tune(client)
    deploy(arm, model, capacity=8)
    for path in (f"{REGION}/usages", f"{ACCOUNT}/usages"):
        rows = {row["name"]["value"]: (row["currentValue"], row["limit"]) for row in arm.get(path)["value"]}
        assert (rows[usage], rows["OpenAI.Standard.gpt4.1-mini"]) == ((8, 10), (0, 5000))
    status, code, message = arm.refusal("PUT", f"{DEPLOYMENTS}/other", deployment_body(model, capacity=3))
    assert (status, code) == (400, "InsufficientQuota")
    assert "This operation require 3 new capacity" in message
    assert "bigger than the current available capacity 2" in message
    changed = arm.put(f"{DEPLOYMENTS}/tuned", {"sku": {"name": "Standard", "capacity": 10}}, method="PATCH")
    assert (changed["sku"]["capacity"], changed["properties"]["currentCapacity"]) == (10, 10)


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"model": "gpt-9"}, "DeploymentModelNotSupported", "Name: gpt-9, Version: 1"),
        ({"version": "2"}, "DeploymentModelNotSupported", "Version: 2"),
        ({"format": "Meta"}, "DeploymentModelNotSupported", "Format: Meta"),
        ({"model": RETIRED, "version": "2024-07-18"}, "ServiceModelDeprecated", "deprecated since 10/01/2026"),
        ({"model": "gpt-4.1", "version": "2025-04-14"}, "ServiceModelDeprecated", "deprecated since 10/14/2026"),
        (
            {"model": "gpt-5-mini", "version": "2025-08-07", "sku": "DeveloperTier"},
            "InvalidResourceProperties",
            "The specified SKU 'DeveloperTier' for model 'gpt-5-mini 2025-08-07' is not supported in this region",
        ),
        ({"sku": "Gold"}, "InvalidResourceProperties", "The specified SKU 'Gold'"),
        ({"capacity": 0}, "InvalidResourceProperties", "not 0"),
        ({"capacity": "1"}, "InvalidResourceProperties", "not '1'"),
        ({"capacity": 501}, "InsufficientQuota", "available capacity 500"),
    ],
)
def test_deployment_that_cannot_be_is_refused(
    arm: ArmClient, client: openai.OpenAI, changed: dict[str, Any], code: str, message: str
) -> None:
    model = fine_tune(client)
    body = deployment_body(**{"model": model, **changed})
    refused = arm.refusal("PUT", f"{DEPLOYMENTS}/tuned", body)
    assert refused[:2] == (400, code)
    assert message in refused[2]


def test_deployment_wants_a_name_a_sku_and_a_model(arm: ArmClient, client: openai.OpenAI) -> None:
    body = deployment_body(fine_tune(client))
    assert arm.refusal("PUT", f"{DEPLOYMENTS}/-tuned", body)[1] == "InvalidResourceName"
    for name in body:
        without = {member: value for member, value in body.items() if member != name}
        assert arm.refusal("PUT", f"{DEPLOYMENTS}/tuned", without)[:2] == (400, "InvalidResourceProperties")
    assert arm.refusal("PUT", f"{ACCOUNTS}/other/deployments/tuned", body)[0] == 404


def test_one_deployment_of_an_account_is_made_at_a_time(
    azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI
) -> None:
    model = fine_tune(client)
    azure.world.operation_polls = 2
    first = arm.send("PUT", f"{DEPLOYMENTS}/first", deployment_body(model)).json()
    assert first["properties"]["provisioningState"] == "Accepted"
    refused = arm.refusal("PUT", f"{DEPLOYMENTS}/second", deployment_body(model))
    assert refused[:2] == (409, "RequestConflict")
    assert "Another operation is being performed on the parent resource" in refused[2]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="first", messages=[{"role": "user", "content": "Hello?"}])
    assert arm.get(f"{DEPLOYMENTS}/first")["properties"]["provisioningState"] == "Succeeded"
    arm.put(f"{DEPLOYMENTS}/second", deployment_body(model))
    assert arm.names(DEPLOYMENTS) == ["first", "second"]


def test_deployment_fails_as_it_is_made(azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI) -> None:
    model = fine_tune(client)
    azure.world.openai_failing_deployments = 1
    with pytest.raises(HttpResponseError, match="could not be created"):
        deploy(arm, model)
    assert arm.get(f"{DEPLOYMENTS}/tuned")["properties"]["provisioningState"] == "Failed"
    assert deploy(arm, model)["properties"]["provisioningState"] == "Succeeded"


def test_model_that_harms_is_not_deployed(azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI) -> None:
    azure.world.openai_model_filtered = {"Violence", "Self Harm"}
    model = fine_tune(client)
    message = arm.refusal("PUT", f"{DEPLOYMENTS}/tuned", deployment_body(model))[2]
    assert message.startswith("This model is unable to be deployed.")
    assert "thresholds for [Self Harm, Violence]." in message
    (job,) = client.fine_tuning.jobs.list()
    assert message in [event.message for event in client.fine_tuning.jobs.list_events(job.id)]


def test_checkpoint_and_another_accounts_model_are_deployed(arm: ArmClient, client: openai.OpenAI) -> None:
    model = fine_tune(client)
    (job,) = client.fine_tuning.jobs.list()
    (_, checkpoint, *_) = client.fine_tuning.jobs.checkpoints.list(job.id)
    deploy(arm, checkpoint.fine_tuned_model_checkpoint, name="checkpoint")
    other = f"{ACCOUNTS}/other"
    make_account(arm, path=other, body=account_body(subdomain="other"))
    path = f"{other}/deployments/tuned"
    assert arm.refusal("PUT", path, deployment_body(model))[1] == "DeploymentModelNotSupported"
    arm.put(path, deployment_body(model, source=ACCOUNT))


def test_ten_deployments_of_fine_tuned_models_are_the_most(arm: ArmClient, client: openai.OpenAI) -> None:
    model = fine_tune(client)
    for place in range(10):
        deploy(arm, model, name=f"tuned-{place}")
    refused = arm.refusal("PUT", f"{DEPLOYMENTS}/tuned-10", deployment_body(model))
    assert refused[1] == "DeploymentLimitReached"
    arm.put(f"{DEPLOYMENTS}/judge", base_body("gpt-5-mini", "2025-08-07"))


def test_idle_deployments_are_removed_and_their_models_stay(
    azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI
) -> None:
    model = fine_tune(client)
    deploy(arm, model, name="standard")
    deploy(arm, model, name="developer", sku="DeveloperTier")
    arm.put(f"{DEPLOYMENTS}/judge", base_body("gpt-5-mini", "2025-08-07"))
    assert azure.openai.remove_idle(23) == []
    assert azure.openai.remove_idle(24) == ["developer"]
    assert azure.openai.remove_idle(15 * 24) == ["standard"]
    assert arm.names(DEPLOYMENTS) == ["judge"]
    assert client.models.retrieve(model).id == model
    deploy(arm, model)


def test_what_was_trained_outlives_its_base_by_a_year(
    azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI
) -> None:
    model = fine_tune(client)
    azure.world.today = date(2027, 10, 13)
    deploy(arm, model)
    azure.world.today = date(2027, 10, 14)
    assert arm.refusal("PUT", f"{DEPLOYMENTS}/late", deployment_body(model))[1] == "ServiceModelDeprecated"


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("Cognitive Services Contributor", {"deploy", "keys", "usages"}),
        ("Cognitive Services OpenAI Contributor", {"deploy", "usages"}),
        ("Cognitive Services OpenAI User", {"usages"}),
        ("Cognitive Services Usages Reader", {"usages"}),
        ("Foundry Owner", {"deploy", "keys", "usages"}),
        ("Foundry User", {"keys", "usages"}),
    ],
)
def test_roles_allow_what_their_definitions_say(
    azure: AzureEmulator, arm: ArmClient, client: openai.OpenAI, role: str, may: set[str]
) -> None:
    model = fine_tune(client)
    azure.world.roles = {f"/subscriptions/{SUBSCRIPTION}": role}
    answered = {
        "deploy": arm.send("PUT", f"{DEPLOYMENTS}/tuned", deployment_body(model)),
        "keys": arm.send("POST", f"{ACCOUNT}/listKeys"),
        "usages": arm.send("GET", f"{REGION}/usages"),
    }
    assert {what for what, answer in answered.items() if answer.status_code < 400} == may
