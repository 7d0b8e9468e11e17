"""Worlds in which models as a service cannot be fine-tuned or deployed, and what the command must say then."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.wrong_world import Change, WrongWorld, set_world

BACKEND = ("--backend", "serverless")
FINE_TUNE = ("fine-tune", *BACKEND, "--yes")
DEPLOY = ("deploy", "Phi-4-mini-instruct", *BACKEND, "--yes")
UP = ("azure up",)
WITH_DATA = ("azure up", "prepare-data")
ML = "Microsoft.MachineLearningServices/workspaces"
CHAT = [{"role": "user", "content": "Who founded Microsoft?"}, {"role": "assistant", "content": "Two friends."}]
ONE_CHAT = json.dumps({"messages": CHAT}) + "\n"


def _move(region: str) -> Change:
    """Return what has everything of Azure Machine Learning made in a region."""

    def change(azure: AzureEmulator) -> None:
        for row in azure.resources:
            if row["type"].startswith(ML):
                row["location"] = region

    return change


def _encrypt_hub(azure: AzureEmulator) -> None:
    (hub,) = (row for row in azure.resources if row["type"] == ML and row["kind"] == "Hub")
    hub["properties"]["encryption"] = {"status": "Enabled"}


def _unregister_network(azure: AzureEmulator) -> None:
    azure.providers.registered.discard("Microsoft.Network")


def _only_read(azure: AzureEmulator) -> None:
    """Leave the caller no role but the reader's."""
    for row in azure.resources:
        if row["type"] == "Microsoft.Authorization/roleAssignments":
            azure.resources.delete(row["id"], asynchronous=False)
    azure.world.roles = {f"/subscriptions/{SUBSCRIPTION}": "Reader"}


SERVERLESS_WORLDS: Sequence[WrongWorld] = (
    WrongWorld(
        "a fine-tune as a service before there is a project",
        FINE_TUNE,
        3,
        ("AI Foundry project phi3flow-project: it does not exist", "phi3flow azure up"),
        before=("prepare-data",),
    ),
    WrongWorld(
        "a fine-tune as a service in a workspace that is no project",
        FINE_TUNE,
        3,
        ("project phi3flow: it is a workspace of the kind Default", "Set project in phi3flow.toml"),
        before=WITH_DATA,
        settings='project = "phi3flow"',
        slow=True,
    ),
    WrongWorld(
        "a fine-tune as a service in a region where models are only deployed",
        FINE_TUNE,
        3,
        (
            "region swedencentral of the project phi3flow-project: Phi-4-mini-instruct is fine-tuned as a service in "
            "eastus, eastus2, northcentralus, southcentralus, westus, westus3 only",
            "A hub cannot be moved",
        ),
        before=WITH_DATA,
        change=_move("swedencentral"),
    ),
    WrongWorld(
        "a deployment as a service in a region without any",
        DEPLOY,
        3,
        ("region northeurope of the project phi3flow-project", "deployed as a service in eastus", "swedencentral"),
        before=UP,
        change=_move("northeurope"),
        slow=True,
    ),
    WrongWorld(
        "a deployment as a service in a hub that is encrypted with a key of its owner's",
        DEPLOY,
        3,
        ("hub phi3flow-hub: it is encrypted with a key of your own", "Set another hub and project in phi3flow.toml"),
        before=UP,
        change=_encrypt_hub,
        slow=True,
    ),
    WrongWorld(
        "a network provider that nobody registered, before a fine-tune as a service",
        FINE_TUNE,
        3,
        ("provider Microsoft.Network: the subscription has not registered it", "az provider register"),
        before=WITH_DATA,
        change=_unregister_network,
    ),
    WrongWorld(
        "a caller who may only read, and fine-tunes as a service",
        FINE_TUNE,
        3,
        (
            f"you may not do {ML}/jobs/write, {ML}/data/versions/write",
            "az role assignment create",
            "--role 'Azure AI Developer'",
        ),
        before=WITH_DATA,
        change=_only_read,
    ),
    WrongWorld(
        "a caller who may only read, and deploys as a service",
        DEPLOY,
        3,
        (f"you may not do {ML}/serverlessEndpoints/write, {ML}/serverlessEndpoints/listKeys/action", "--scope"),
        before=UP,
        change=_only_read,
        slow=True,
    ),
    WrongWorld(
        "a fine-tune as a service of a model that Azure retired",
        (*FINE_TUNE, "--model", "Phi-3-mini-4k-instruct:15"),
        3,
        (
            "model Phi-3-mini-4k-instruct:15: Azure does not offer it as a service since 2025-08-30",
            "Take Phi-4-mini-instruct, or --backend azureml for machines of your own",
        ),
        before=WITH_DATA,
        slow=True,
    ),
    WrongWorld(
        "a deployment as a service of a model that Azure retired and archived",
        ("deploy", "Phi-3-mini-4k-instruct", *BACKEND, "--yes"),
        3,
        ("model Phi-3-mini-4k-instruct: Azure does not offer it as a service since 2025-08-30",),
        before=UP,
    ),
    WrongWorld(
        "a fine-tune as a service of a model that is not offered so",
        (*FINE_TUNE, "--model", "Phi-4-mini-reasoning"),
        3,
        ("model Phi-4-mini-reasoning:1: Azure does not offer it as a service", "--backend azureml"),
        before=WITH_DATA,
        slow=True,
    ),
    WrongWorld(
        "a deployment as a service of a version that is not the newest",
        ("deploy", "Phi-4:7", *BACKEND, "--yes"),
        2,
        ("Phi-4:7: as a service Azure serves the newest version of Phi-4: leave :7 away",),
        before=UP,
        slow=True,
    ),
    WrongWorld(
        "a portal in which models are deployed to Foundry resources",
        DEPLOY,
        3,
        (
            "Serverless API deployments are not available",
            'In the portal, under Preview features, switch "Deploy models to Foundry resources" off',
            "Nothing of it is left",
        ),
        before=UP,
        change=set_world(foundry_deployments_feature=True),
    ),
    WrongWorld(
        "as many endpoints of models as a service as the region may have",
        DEPLOY,
        3,
        (
            "QuotaExceeded: The limit of 0 serverless endpoints in region 'eastus2' is reached",
            "`az ml serverless-endpoint list` shows what there is",
            "Nothing of it is left",
        ),
        before=UP,
        change=set_world(serverless_endpoints_limit=0),
        slow=True,
    ),
    WrongWorld(
        "a name that an endpoint as a service of the region has already",
        (*DEPLOY, "--name", "phi4"),
        3,
        ("The endpoint name 'phi4' is taken in region 'eastus2'. Give another --name. Nothing of it is left",),
        before=UP,
        change=set_world(taken_names={"phi4"}),
        slow=True,
    ),
    WrongWorld(
        "a model as a service of a publisher that the project has not subscribed to",
        ("deploy", "Ministral-3B", *BACKEND, "--yes"),
        3,
        ("is offered through Azure Marketplace", "`az ml marketplace-subscription create`. Nothing of it is left"),
        before=UP,
        slow=True,
    ),
    WrongWorld(
        "a batch size that the service does not take",
        (*FINE_TUNE, "--batch-size", "64"),
        2,
        ("--batch-size 64: the service takes 1 to 32",),
        before=("prepare-data",),
    ),
    WrongWorld(
        "a split that would leave no conversation to learn or to measure by",
        (*FINE_TUNE, "--train", "one.jsonl", "--validation-split", "0.5"),
        2,
        ("one.jsonl cannot be split by 0.5: it has 1 conversation, and a side would stay empty",),
        files={"one.jsonl": ONE_CHAT},
    ),
    WrongWorld(
        "a line of the data that is no chat",
        (*FINE_TUNE, "--train", "chats-of-two.jsonl"),
        2,
        ("chats-of-two.jsonl:2: message 1: content is empty",),
        before=("prepare-data",),
        files={"chats-of-two.jsonl": ONE_CHAT + json.dumps({"messages": [{**CHAT[0], "content": ""}]}) + "\n"},
    ),
    WrongWorld(
        "a file that is too large for the service",
        FINE_TUNE,
        3,
        ("fineTuningDetails.trainingData: the file is larger than 2000 bytes",),
        before=WITH_DATA,
        change=set_world(serverless_data_bytes=2000),
        slow=True,
    ),
)
