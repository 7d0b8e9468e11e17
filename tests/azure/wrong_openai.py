"""Worlds in which a command of Azure OpenAI cannot do what it is asked for, and what it must say then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.azure.arm_client import GROUP, ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.openai.base_models import find_base
from tests.azure.emulator.openai.tuned_models import TunedModel
from tests.azure.emulator.world import PROVIDERS, SUBSCRIPTION
from tests.azure.openai_account import ACCOUNT, ENDPOINT, SUBDOMAIN, VERSION, account_body, client_of, make_account
from tests.azure.openai_scenario import submit, upload
from tests.azure.wrong_world import Change, WrongWorld, set_world

MODEL = "gpt-4.1-mini-2025-04-14"
TUNED = f"{MODEL}.ft-0123456789abcdef0123456789abcdef-support"
ROLE = "Cognitive Services OpenAI Contributor"
SETTINGS = f'resource_group = "{GROUP.rpartition("/")[2]}"\nopenai_account = "{SUBDOMAIN}"'
BACKEND = ("--backend", "azure-openai")
FINE_TUNE = ("fine-tune", *BACKEND, "--model", MODEL, "--yes")
DEPLOY = ("deploy", "gpt-oss-20b", *BACKEND, "--name", "base", "--yes")
DATA = ("prepare-data",)


def account(kind: str = "AIServices", **world: Any) -> Change:
    """Return what makes a resource, in which the caller may train, in a world with other values."""

    def change(azure: AzureEmulator) -> None:
        azure.providers.registered |= set(PROVIDERS)
        make_account(ArmClient(VERSION), body=account_body(kind))
        azure.world.roles[ACCOUNT] = ROLE
        set_world(**world)(azure)

    return change


def _all(*changes: Change) -> Change:
    def change(azure: AzureEmulator) -> None:
        for part in changes:
            part(azure)

    return change


def _add_tuned_model(azure: AzureEmulator) -> None:
    base = find_base(MODEL)
    assert base
    harms = frozenset(azure.world.openai_model_filtered)
    made = TunedModel(account_id=ACCOUNT, names=(TUNED,), base=base, job_id="ftjob-0", created_at=0, harms=harms)
    azure.openai.models.add(made)


def _fill_with_jobs(azure: AzureEmulator) -> None:
    client = client_of(ENDPOINT, azure.openai.accounts.keys(ACCOUNT)["key1"])
    training = upload(client)
    for _ in range(23):
        submit(client, training)


def _deploy_as_others(azure: AzureEmulator) -> None:
    model = {"format": "OpenAI-OSS", "name": "gpt-oss-20b", "version": "1"}
    body = {"sku": {"name": "GlobalStandard", "capacity": 5}, "tags": {}}
    properties = {"model": model, "provisioningState": "Succeeded"}
    azure.resources.store(f"{ACCOUNT}/deployments/theirs", {**body, "properties": properties})


_NOTED = {
    "backend": "azure-openai",
    "endpoint": "tuned",
    "deployment": "tuned",
    "url": ENDPOINT,
    "protocol": "openai",
    "asked_as": "tuned",
    "model": TUNED,
    "created_at": "2026-11-01T00:00:00Z",
}
"""What `deploy` noted of a deployment."""

OPENAI_WORLDS: Sequence[WrongWorld] = (
    WrongWorld(
        "a model that only earlier customers fine-tune",
        FINE_TUNE,
        3,
        (f"model {MODEL}: the resource does not fine-tune it, or not for you", "anybody can fine-tune gpt-oss-20b"),
        before=DATA,
        settings=SETTINGS,
        change=account(openai_existing_customer=False),
    ),
    WrongWorld(
        "a training type that the model does not take",
        ("fine-tune", *BACKEND, "--model", "gpt-oss-20b", "--training-type", "Standard", "--yes"),
        3,
        ("does not support fine-tuning", "the newer models take --training-type GlobalStandard, not Standard"),
        before=DATA,
        settings=SETTINGS,
        change=account(),
    ),
    WrongWorld(
        "a region that fine-tunes nothing of Azure OpenAI",
        FINE_TUNE,
        3,
        ("does not support fine-tuning", "where the region trains none"),
        before=DATA,
        settings=SETTINGS,
        change=account(openai_regions={"westus3"}),
    ),
    WrongWorld(
        "no role for the data of the Azure OpenAI resource",
        FINE_TUNE,
        3,
        (
            "lacks the required data action",
            "Cognitive Services OpenAI Contributor, or on a Foundry resource Foundry User",
        ),
        before=DATA,
        settings=SETTINGS,
        change=account(roles={f"/subscriptions/{SUBSCRIPTION}": "Owner"}),
    ),
    WrongWorld(
        "a role that may train and not deploy",
        DEPLOY,
        3,
        ("you may not do Microsoft.CognitiveServices/accounts/deployments/write", "az role assignment create"),
        settings=SETTINGS,
        change=account(roles={GROUP: "Cognitive Services OpenAI User"}),
    ),
    WrongWorld(
        "training data that content safety refuses",
        FINE_TUNE,
        3,
        ("content safety refuses the training data for hate, self_harm", "Take such examples out"),
        before=DATA,
        settings=SETTINGS,
        change=account(openai_data_filtered={"self_harm", "hate"}),
    ),
    WrongWorld(
        "a trained model that content safety refuses",
        ("deploy", TUNED, *BACKEND, "--yes"),
        3,
        ("content safety refuses the trained model for Self Harm", "train again", "Nothing of it is left"),
        settings=SETTINGS,
        change=_all(account(openai_model_filtered={"Self Harm"}), _add_tuned_model),
    ),
    WrongWorld(
        "fewer than ten examples for Azure OpenAI",
        (*FINE_TUNE, "--train", "data/validation.jsonl"),
        2,
        ("data/validation.jsonl has 6 examples; the service takes at least 10",),
        before=DATA,
        settings=SETTINGS,
        change=account(),
    ),
    WrongWorld(
        "examples that are longer than the model takes",
        FINE_TUNE,
        3,
        ("Validation of jsonl file failed", "training file, line 1", "more than the limit of 5"),
        before=DATA,
        settings=SETTINGS,
        change=account(openai_example_tokens=5),
    ),
    WrongWorld(
        "as many fine-tuning jobs as the resource takes",
        FINE_TUNE,
        3,
        ("23 fine-tuning jobs that have not ended", "What helps: fewer of them"),
        before=DATA,
        settings=SETTINGS,
        change=_all(account(), _fill_with_jobs),
        slow=True,
    ),
    WrongWorld(
        "a suffix with a dot",
        (*FINE_TUNE, "--suffix", "v1.2"),
        2,
        ("--suffix 'v1.2': is 1 to 18 letters, digits, '-' and '_'; Azure takes no dot",),
        before=DATA,
        settings=SETTINGS,
    ),
    WrongWorld(
        "a wrong key of Azure OpenAI",
        FINE_TUNE,
        3,
        ("the key is wrong, or of another resource", "AZURE_OPENAI_API_KEY; either works"),
        before=DATA,
        environment={"AZURE_OPENAI_ENDPOINT": ENDPOINT, "AZURE_OPENAI_API_KEY": "0123456789abcdef"},
        change=account(),
    ),
    WrongWorld(
        "a login to Azure OpenAI that has expired",
        FINE_TUNE,
        3,
        ("the login is not taken, or has expired", "az login, or set AZURE_OPENAI_API_KEY"),
        before=DATA,
        environment={"AZURE_OPENAI_ENDPOINT": ENDPOINT},
        change=account(expired_tokens=True),
    ),
    WrongWorld(
        "nobody logged in and no key of Azure OpenAI",
        FINE_TUNE,
        3,
        ("nobody is logged in", "az login", "or AZURE_OPENAI_API_KEY"),
        before=DATA,
        environment={"AZURE_OPENAI_ENDPOINT": ENDPOINT, "AZURE_CLIENT_SECRET": "wrong"},
        change=account(),
    ),
    WrongWorld(
        "more tokens a minute than the quota",
        ("deploy", TUNED, *BACKEND, "--capacity", "501", "--yes"),
        3,
        ("the quota limit is 500", "a smaller --capacity, another --sku, or more quota", "Nothing of it is left"),
        settings=SETTINGS,
        change=_all(account(), _add_tuned_model),
    ),
    WrongWorld(
        "a base model that Azure OpenAI has retired",
        ("deploy", MODEL, *BACKEND, "--yes"),
        3,
        ("has been deprecated since 10/14/2026", "What helps: another model", "Nothing of it is left"),
        settings=SETTINGS,
        change=account(),
    ),
    WrongWorld(
        "an endpoint without encryption",
        FINE_TUNE,
        2,
        ("over http the key would travel in the clear",),
        before=DATA,
        environment={"AZURE_OPENAI_ENDPOINT": ENDPOINT.replace("https", "http"), "AZURE_OPENAI_API_KEY": "0123"},
    ),
    WrongWorld(
        "no Azure OpenAI resource named",
        DEPLOY,
        2,
        ("which Azure OpenAI resource? Set openai_account in phi3flow.toml", "phi3flow azure up"),
    ),
    WrongWorld(
        "an Azure OpenAI resource that is not there",
        DEPLOY,
        2,
        (f"there is no Azure OpenAI resource {SUBDOMAIN} in the group rg", "phi3flow azure up"),
        settings=SETTINGS,
    ),
    WrongWorld(
        "an endpoint of another resource than the one named",
        DEPLOY,
        2,
        (f"is not that of the Azure OpenAI resource {SUBDOMAIN}", "set one of them only"),
        settings=SETTINGS,
        environment={"AZURE_OPENAI_ENDPOINT": "https://another.openai.azure.com/"},
        change=account(),
    ),
    WrongWorld(
        "a model of Foundry resources only",
        ("fine-tune", *BACKEND, "--model", "gpt-oss-20b", "--yes"),
        3,
        ("model gpt-oss-20b: the resource at ", "does not have it", "It is for Foundry resources (kind AIServices)"),
        before=DATA,
        settings=SETTINGS,
        change=account("OpenAI"),
    ),
    WrongWorld(
        "a model that Azure OpenAI does not have",
        ("fine-tune", *BACKEND, "--model", "gpt-4.1-mini", "--yes"),
        3,
        ("does not have it; it fine-tunes ", f"Give --model {MODEL} or "),
        before=DATA,
        settings=SETTINGS,
        change=account(),
    ),
    WrongWorld(
        "a key of Azure OpenAI and no subscription to deploy in",
        DEPLOY,
        2,
        ("azure.subscription_id is missing: set it, or the environment variable AZURE_SUBSCRIPTION_ID",),
        environment={
            "AZURE_SUBSCRIPTION_ID": "",
            "AZURE_OPENAI_ENDPOINT": ENDPOINT,
            "AZURE_OPENAI_API_KEY": "0123456789abcdef",
        },
    ),
    WrongWorld(
        "a deployment of somebody else's in the Azure OpenAI resource",
        ("undeploy", "theirs", *BACKEND, "--yes"),
        2,
        ("phi3flow did not make the deployment theirs", "az cognitiveservices account deployment delete"),
        settings=SETTINGS,
        change=_all(account(), _deploy_as_others),
    ),
    WrongWorld(
        "a deployment that Azure removed because it was idle",
        ("connect", "phi3_tuned", "--from-deployment", "tuned", "--to", "foundry"),
        2,
        ("deployment tuned: it is not there any more", "after 15 idle days", "phi3flow deploy --backend azure-openai"),
        settings=SETTINGS,
        files={".phi3flow/state.json": json.dumps({"endpoints": [_NOTED]})},
        change=account(),
    ),
)
