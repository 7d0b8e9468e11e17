"""Worlds in which a command cannot do what it is asked for, and what it must say then."""

from __future__ import annotations

from collections.abc import Sequence

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import STEPS
from tests.azure.wrong_openai import OPENAI_WORLDS
from tests.azure.wrong_serverless import SERVERLESS_WORLDS
from tests.azure.wrong_world import Change, WrongWorld, set_world

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/phi3flow"
A100 = "Standard NCADSA100v4 Family"
UP = ("azure up",)
TUNED = ("azure up", "prepare-data", "fine-tune", "register")


def _quota(family: str, cores: int) -> Change:
    def change(azure: AzureEmulator) -> None:
        azure.world.quota[family] = cores

    return change


def _take_name(azure: AzureEmulator) -> None:
    azure.world.taken_names.add("phi3flowtaken")


def _take_endpoint(azure: AzureEmulator) -> None:
    azure.world.taken_names.add("phi3-taken")


def _lose_model(azure: AzureEmulator) -> None:
    azure.world.missing_models.add("Phi-4-mini-instruct")


def _unregister(*providers: str) -> Change:
    """Return what takes providers from the subscription, as one has it that never had an endpoint."""

    def change(azure: AzureEmulator) -> None:
        azure.providers.registered -= set(providers)

    return change


def endpoint_of_others(*deployments: str, mode: str = "Key") -> Change:
    """Return what somebody else made: an endpoint with deployments, whose names tell phi3flow's from theirs."""

    def change(azure: AzureEmulator) -> None:
        endpoint = f"{WORKSPACE}/onlineEndpoints/theirs"
        url = "https://theirs.eastus2.inference.ml.azure.com/score"
        done = {"provisioningState": "Succeeded"}
        identity = {"type": "SystemAssigned"}
        properties = {"authMode": mode, "scoringUri": url, "traffic": {}, **done}
        azure.resources.store(endpoint, {"location": "eastus2", "identity": identity, "properties": properties})
        for name in deployments:
            tags = {"created-by": "phi3flow"} if name.startswith("ours") else {}
            properties = {"instanceType": "Standard_NC24ads_A100_v4", **done}
            body = {"location": "eastus2", "tags": tags, "sku": {"name": "Default", "capacity": 1}}
            azure.resources.store(f"{endpoint}/deployments/{name}", {**body, "properties": properties})

    return change


def _deny(*actions: str) -> Change:
    def change(azure: AzureEmulator) -> None:
        azure.world.denied = {f"Microsoft.MachineLearningServices/workspaces/{action}" for action in actions}

    return change


def _all(*changes: Change) -> Change:
    def change(azure: AzureEmulator) -> None:
        for part in changes:
            part(azure)

    return change


def _add_deployment_of_others(azure: AzureEmulator) -> None:
    (endpoint,) = (row["id"] for row in azure.resources if row["type"].endswith("/onlineEndpoints"))
    properties = {"instanceType": "Standard_NC24ads_A100_v4", "provisioningState": "Succeeded"}
    body = {"location": "eastus2", "tags": {}, "sku": {"name": "Default", "capacity": 1}, "properties": properties}
    azure.resources.store(f"{endpoint}/deployments/canary", body)


def _move_workspace(azure: AzureEmulator) -> None:
    for row in azure.resources:
        if row["type"].startswith("Microsoft.MachineLearningServices/workspaces"):
            row["location"] = "westus3"


def _soft_delete(azure: AzureEmulator) -> None:
    azure.world.soft_deleted.add(WORKSPACE.lower())


def own_the_group(azure: AzureEmulator) -> None:
    """Give the caller a group that somebody else made, and no role on the subscription."""
    azure.resources.store(GROUP, {"location": "eastus2", "properties": {"provisioningState": "Succeeded"}})
    azure.world.roles = {GROUP: "Owner"}


def _lock(azure: AzureEmulator) -> None:
    azure.world.locked.add(WORKSPACE)


def _refuse_traffic(azure: AzureEmulator, request: Request) -> None:
    """Take the right to change an endpoint away once there is a deployment."""
    if "/deployments/" in request.path and request.method == "PUT":
        _deny("onlineEndpoints/write")(azure)


FINE_TUNE, DEPLOY = STEPS["fine-tune"], STEPS["deploy"]
BASE = (*DEPLOY, "Phi-4-mini-instruct")
"""Deploys the base model of the registry, which nothing need be fine-tuned for."""
UNDEPLOY = STEPS["undeploy"]
WORLDS: Sequence[WrongWorld] = (
    WrongWorld(
        "no GPU quota for the fine-tune",
        ("azure", "plan"),
        1,
        (
            "takes 24 cores",
            "the quota is 0, 0 used",
            "az quota update --resource-name standardNCADSA100v4Family",
            "=24",
        ),
        before=UP,
        change=_quota(A100, 0),
    ),
    WrongWorld(
        "no GPU quota at the fine-tune",
        FINE_TUNE,
        3,
        (
            "compute cluster gpu-cluster of 1 x Standard_NC24ads_A100_v4",
            "the quota is 12, 0 used",
            "--limit-object value=24",
        ),
        before=("azure up", "prepare-data"),
        change=_quota(A100, 12),
        slow=True,
    ),
    WrongWorld(
        "quota for the fine-tune but not for the deployment's reserve",
        ("azure", "plan"),
        0,
        ("warning: deployment of 1 x", "20 % that the service reserves", "takes 29 cores", "value=29", "exempt"),
        before=UP,
        change=_quota(A100, 24),
    ),
    WrongWorld(
        "quota for one instance where two are wanted",
        ("azure", "plan"),
        1,
        ("deployment of 2 x Standard_NC24ads_A100_v4", "the quota is 24, 0 used", "--limit-object value=58"),
        before=UP,
        settings="instances = 2",
        change=_quota(A100, 24),
        slow=True,
    ),
    WrongWorld(
        "quota used up by another deployment",
        DEPLOY,
        3,
        ("deployment of 1 x Standard_NC24ads_A100_v4", "the quota is 12, 0 used"),
        before=TUNED,
        change=_quota(A100, 12),
        slow=True,
    ),
    WrongWorld(
        "a VM size that Azure retired for the fine-tune",
        ("azure", "plan"),
        1,
        (
            "fine_tune_size Standard_NC6s_v3: Azure retired it on 2025-09-30",
            'Set fine_tune_size = "Standard_NC24ads_A100_v4"',
        ),
        before=UP,
        settings='compute = "other-cluster"\nfine_tune_size = "Standard_NC6s_v3"',
        slow=True,
    ),
    WrongWorld(
        "a VM size that Azure retired for the deployment",
        DEPLOY,
        3,
        ("deployment_size Standard_NC6s_v3: Azure retired it on 2025-09-30", "Standard_NC24ads_A100_v4"),
        before=TUNED,
        environment={"AZUREML_DEPLOYMENT_SIZE": "Standard_NC6s_v3"},
        slow=True,
    ),
    WrongWorld(
        "a VM size that the region does not offer",
        ("azure", "plan"),
        1,
        ("eastus2 does not offer it; GPU sizes there: Standard_NC24ads_A100_v4", "az ml compute list-sizes"),
        before=UP,
        settings='deployment_size = "Standard_ND96amsr_A100_v4"',
        slow=True,
    ),
    WrongWorld(
        "a VM size without GPU",
        ("azure", "plan"),
        1,
        ("deployment_size Standard_DS3_v2: it has no GPU", "Standard_NC24ads_A100_v4"),
        before=UP,
        settings='deployment_size = "Standard_DS3_v2"',
        slow=True,
    ),
    WrongWorld(
        "a region without GPUs",
        ("azure", "up", "--yes"),
        3,
        ("northeurope does not offer it; the region has no GPU sizes at all", "Set fine_tune_size or location"),
        settings='location = "northeurope"',
    ),
    WrongWorld(
        "a region that is none",
        ("azure", "up", "--yes"),
        3,
        ("location atlantis: Azure Machine Learning is not there", "az account list-locations"),
        settings='location = "atlantis"',
    ),
    WrongWorld(
        "a caller who may only read",
        ("azure", "up", "--yes"),
        3,
        ("you may not do", "resourceGroups/write", "az role assignment create", "--role 'Contributor'"),
        change=set_world(roles={f"/subscriptions/{SUBSCRIPTION}": "Reader"}),
    ),
    WrongWorld(
        "a caller who may not assign roles",
        ("azure", "up", "--yes"),
        3,
        ("you may not do Microsoft.Authorization/roleAssignments/write. ", "Owner, User Access Administrator"),
        change=set_world(roles={f"/subscriptions/{SUBSCRIPTION}": "Contributor"}),
    ),
    WrongWorld(
        "a provider that the caller may not register",
        ("azure", "up", "--yes"),
        3,
        ("Microsoft.Network/register/action", "az role assignment create"),
        change=set_world(roles={GROUP: "Owner", f"/subscriptions/{SUBSCRIPTION}": "Reader"}),
    ),
    WrongWorld(
        "a caller with a role on the group only, and providers that nobody registered",
        ("azure", "up", "--yes"),
        3,
        ("MissingSubscriptionRegistration", "not registered to use namespace 'Microsoft.Storage'"),
        change=own_the_group,
    ),
    WrongWorld(
        "a name that somebody else has",
        ("azure", "up", "--yes"),
        3,
        ("storage account phi3flowtaken: the name is not to be had (AlreadyExists)", "Set another storage_account"),
        settings='storage_account = "phi3flowtaken"',
        change=_take_name,
    ),
    WrongWorld(
        "a free trial",
        ("azure", "plan"),
        1,
        ("(FreeTrial): it has a spending limit", "GPU sizes need a pay-as-you-go subscription", "Upgrade"),
        change=set_world(quota_id="FreeTrial_2014-09-01", spending_limit="On"),
    ),
    WrongWorld(
        "a subscription for students",
        ("azure", "up", "--yes"),
        3,
        ("(AzureForStudents): this kind gets no GPU quota",),
        change=set_world(quota_id="AzureForStudents_2018-01-01"),
        slow=True,
    ),
    WrongWorld(
        "a subscription that is not there",
        ("azure", "plan"),
        3,
        (
            "subscription 99999999-2222-3333-4444-555555555555: it does not exist, or you may not see it",
            "az account list",
        ),
        environment={"AZURE_SUBSCRIPTION_ID": "99999999-2222-3333-4444-555555555555"},
    ),
    WrongWorld(
        "nobody logged in",
        ("azure", "plan"),
        3,
        ("nobody is logged in", "Invalid client secret provided", "az login"),
        environment={"AZURE_CLIENT_SECRET": "wrong"},
    ),
    WrongWorld(
        "a token that has expired",
        ("azure", "plan"),
        3,
        ("ExpiredAuthenticationToken", "az login"),
        change=set_world(expired_tokens=True),
    ),
    WrongWorld(
        "Azure out of reach",
        ("azure", "plan"),
        3,
        ("Unable to connect to proxy", "Connection refused"),
        environment={"HTTPS_PROXY": "http://127.0.0.1:9"},
        slow=True,
    ),
    WrongWorld(
        "a soft-deleted workspace of the same name",
        ("azure", "up", "--yes"),
        3,
        ("Soft-deleted workspace exists", "az rest --method delete", "forceToPurge=true"),
        change=_soft_delete,
    ),
    WrongWorld(
        "a cluster of another VM size",
        ("azure", "up", "--yes"),
        3,
        ("compute cluster gpu-cluster: it exists, and properties.properties.vmSize is", "cannot be changed"),
        before=UP,
        environment={"AZUREML_FINE_TUNE_SIZE": "Standard_NC48ads_A100_v4"},
        slow=True,
    ),
    WrongWorld(
        "a lock on what is to be deleted",
        ("azure", "down", "--yes"),
        3,
        ("workspace phi3flow: ", "ScopeLocked", "The same command goes on from here"),
        before=UP,
        change=_lock,
        slow=True,
    ),
    WrongWorld(
        "no workspace yet",
        FINE_TUNE,
        3,
        ("workspace phi3flow: it does not exist", "phi3flow azure up"),
        before=("prepare-data",),
    ),
    WrongWorld(
        "a model that Azure retired and the registry still has",
        ("azure", "plan"),
        0,
        ("warning: model Phi-3.5-mini-instruct", "Azure retired it on 2025-08-30", 'model = "Phi-4-mini-instruct"'),
        before=UP,
        settings='model = "Phi-3.5-mini-instruct"',
        slow=True,
    ),
    WrongWorld(
        "a model that the registry lacks",
        FINE_TUNE,
        2,
        (
            "the registry azureml has no model Phi-4-mini-instruct (latest); it has",
            "Phi-4-multimodal-instruct",
        ),
        before=("azure up", "prepare-data"),
        change=_lose_model,
    ),
    WrongWorld(
        "a model that is not fine-tuned on the VM size",
        FINE_TUNE,
        2,
        ("is not fine-tuned on Standard_DS3_v2: it names Standard_NC24ads_A100_v4", "fine_tune_size"),
        before=("azure up", "prepare-data"),
        environment={"AZUREML_FINE_TUNE_SIZE": "Standard_DS3_v2"},
        slow=True,
    ),
    WrongWorld(
        "more nodes than the cluster has",
        (*FINE_TUNE, "--nodes", "3"),
        2,
        ("--nodes 3: the cluster gpu-cluster has at most 1", "max_nodes"),
        before=("azure up", "prepare-data"),
        slow=True,
    ),
    WrongWorld(
        "a job that fails",
        FINE_TUNE,
        3,
        (
            "failed: step node > chat_completion_finetune: CUDA out of memory",
            "its log: az ml job download --name",
            "std_log.txt",
            "https://ml.azure.com/runs/",
        ),
        before=("azure up", "prepare-data"),
        change=set_world(job_failure="CUDA out of memory. Tried to allocate 2.00 GiB."),
    ),
    WrongWorld(
        "a deployment that fails its probe",
        DEPLOY,
        3,
        ("Liveness probe failed", "the end of its log", "It was deleted again; the traffic is as it was"),
        before=TUNED,
        change=set_world(failing_deployments=1),
        slow=True,
    ),
    WrongWorld(
        "an endpoint's name that the region has already",
        (*DEPLOY, "--name", "phi3-taken"),
        3,
        ("onlineEndpoints/phi3-taken", "There is already an endpoint with this name"),
        before=TUNED,
        change=_take_endpoint,
        slow=True,
    ),
    WrongWorld(
        "a deployment that has traffic is to be deleted",
        ("undeploy", "--backend", "azureml", "--deployment", "phi-4-mini-instruct-tuned-1", "--yes"),
        2,
        ("has 100 % of the traffic", "deploy another version with --traffic 100 first"),
        before=(*TUNED, "deploy"),
        slow=True,
    ),
    WrongWorld(
        "a model that Azure archived",
        ("azure", "plan"),
        1,
        (
            "the registry azureml has no model Phi-3-mini-4k-instruct (latest): Azure archived it",
            'model_label = "15"',
            'model = "Phi-4-mini-instruct"',
        ),
        before=UP,
        settings='model = "Phi-3-mini-4k-instruct"',
    ),
    WrongWorld(
        "a model that Azure archived, by its version",
        ("azure", "plan"),
        0,
        ("warning: model Phi-3-mini-4k-instruct:15: Azure archived it on 2025-08-30", 'model = "Phi-4-mini-instruct"'),
        before=UP,
        settings='model = "Phi-3-mini-4k-instruct"\nmodel_label = "15"',
        slow=True,
    ),
    WrongWorld(
        "a version of a model that the registry lacks",
        (*FINE_TUNE, "--model", "Phi-4-mini-instruct:99"),
        2,
        ("the registry azureml has no model Phi-4-mini-instruct (99): its versions are 1",),
        before=("azure up", "prepare-data"),
        slow=True,
    ),
    WrongWorld(
        "a registry that is not there",
        ("azure", "plan"),
        1,
        ("there is no registry nowhere: set registry in phi3flow.toml",),
        before=UP,
        settings='registry = "nowhere"',
        slow=True,
    ),
    WrongWorld(
        "a component that the registry lacks",
        ("azure", "plan"),
        1,
        ("the registry azureml has no component chat_pipeline (latest); it has chat_completion_pipeline",),
        before=UP,
        settings='component = "chat_pipeline"',
    ),
    WrongWorld(
        "a registry that the caller may not read",
        ("azure", "plan"),
        1,
        ("model Phi-4-mini-instruct: you may not read the registry azureml", "AzureML Registry User"),
        before=UP,
        change=set_world(registry_refuses=True),
    ),
    WrongWorld(
        "a registry that fails",
        ("azure", "plan"),
        0,
        ("warning: model Phi-4-mini-instruct: it could not be looked up", "An internal error occurred"),
        before=UP,
        change=set_world(registry_broken=True),
        slow=True,
    ),
    WrongWorld(
        "providers that nobody registered, before a fine-tune is paid for",
        FINE_TUNE,
        3,
        ("providers Microsoft.Cdn, Microsoft.PolicyInsights: the subscription has not registered them", "azure up"),
        before=("azure up", "prepare-data"),
        change=_unregister("Microsoft.Cdn", "Microsoft.PolicyInsights"),
    ),
    WrongWorld(
        "a provider that nobody registered, before a deployment",
        BASE,
        3,
        ("providers Microsoft.PolicyInsights: the subscription has not registered them", "az provider register"),
        before=UP,
        change=_unregister("Microsoft.PolicyInsights"),
        leaves=(),
    ),
    WrongWorld(
        "a workspace in another region than the settings say",
        ("azure", "plan"),
        0,
        (
            "location eastus2: the workspace phi3flow is in westus3, and so is everything with it",
            'Set location = "westus3"',
        ),
        before=UP,
        change=_move_workspace,
    ),
    WrongWorld(
        "an endpoint that is not opened with a key",
        (*BASE, "--name", "theirs"),
        3,
        ("endpoint theirs: it is opened with AADToken, and phi3flow asks by key", "--name"),
        before=UP,
        change=endpoint_of_others(mode="AADToken"),
        leaves=(),
    ),
    WrongWorld(
        "an endpoint whose keys the caller may not read",
        (*BASE, "--name", "theirs"),
        3,
        ("endpoint theirs: you may not read its keys", "listKeys", "az role assignment create"),
        before=UP,
        change=_all(endpoint_of_others(), _deny("onlineEndpoints/listKeys/action")),
        leaves=(),
    ),
    WrongWorld(
        "keys that the caller may not read, of an endpoint that was just made",
        BASE,
        3,
        ("listKeys", "AuthorizationFailed"),
        before=UP,
        change=_deny("onlineEndpoints/listKeys/action"),
        leaves=(),
    ),
    WrongWorld(
        "a deployment that fails, and a log that the caller may not read",
        BASE,
        3,
        (
            "Liveness probe failed",
            "its log cannot be read",
            "getLogs",
            "It was deleted again; the traffic is as it was",
        ),
        before=UP,
        change=_all(_deny("onlineEndpoints/deployments/getLogs/action"), set_world(failing_deployments=1)),
        leaves=(),
    ),
    WrongWorld(
        "a deployment that fails and may not be deleted",
        BASE,
        3,
        (
            "It could not be deleted again",
            "1 x Standard_NC24ads_A100_v4, 3.67 dollars an hour (88.15 a day)",
            "To end it: phi3flow undeploy phi3flow-4b7b8 --backend azureml --deployment phi-4-mini-instruct-1",
        ),
        before=UP,
        change=_all(_deny("onlineEndpoints/deployments/delete"), set_world(failing_deployments=1)),
        leaves=("phi-4-mini-instruct-1",),
    ),
    WrongWorld(
        "traffic that the caller may not set, once a deployment is made",
        BASE,
        3,
        ("onlineEndpoints/write", "It was deleted again; the traffic is as it was"),
        before=UP,
        change=lambda azure: setattr(azure, "after_write", lambda request: _refuse_traffic(azure, request)),
        leaves=(),
    ),
    WrongWorld(
        "an endpoint to be deleted whose name is mistyped",
        ("undeploy", "phi3-taken", "--backend", "azureml", "--yes"),
        2,
        ("there is no endpoint phi3-taken in the workspace phi3flow: phi3flow made theirs",),
        before=UP,
        change=endpoint_of_others("ours-1"),
        leaves=("ours-1",),
    ),
    WrongWorld(
        "a deployment to be deleted whose name is mistyped",
        ("undeploy", "theirs", "--backend", "azureml", "--deployment", "ours-2", "--yes"),
        2,
        ("the endpoint theirs has no deployment ours-2; it has ours-1",),
        before=UP,
        change=endpoint_of_others("ours-1"),
        leaves=("ours-1",),
        slow=True,
    ),
    WrongWorld(
        "an endpoint to be deleted that phi3flow did not make",
        ("undeploy", "theirs", "--backend", "azureml", "--yes"),
        2,
        (
            "phi3flow did not make the endpoint theirs",
            "phi3flow undeploy theirs --backend azureml --deployment ours-1",
            "az ml online-endpoint delete --name theirs --resource-group phi3flow --workspace-name phi3flow",
        ),
        before=UP,
        change=endpoint_of_others("ours-1", "blue"),
        leaves=("ours-1", "blue"),
    ),
    WrongWorld(
        "a deployment to be deleted that phi3flow did not make",
        ("undeploy", "theirs", "--backend", "azureml", "--deployment", "blue", "--yes"),
        2,
        (
            "phi3flow did not make deployment blue of the endpoint theirs",
            "az ml online-deployment delete --name blue --endpoint-name theirs",
        ),
        before=UP,
        change=endpoint_of_others("ours-1", "blue"),
        leaves=("ours-1", "blue"),
        slow=True,
    ),
    WrongWorld(
        "an endpoint to be deleted in which somebody else deployed",
        UNDEPLOY,
        2,
        ("phi3flow did not make deployment canary of the endpoint phi3flow-4b7b8", "az ml online-endpoint delete"),
        before=(*UP, "deploy base"),
        change=_add_deployment_of_others,
        leaves=("canary", "phi-4-mini-instruct-1"),
        slow=True,
    ),
    WrongWorld(
        "a job to be canceled where none runs",
        ("cancel", "--backend", "azureml", "--yes"),
        2,
        ("no job that was submitted from here is under way", "phi3flow cancel JOB"),
        before=UP,
        slow=True,
    ),
    WrongWorld(
        "a job to be canceled that is not there",
        ("cancel", "no-such-job", "--backend", "azureml", "--yes"),
        2,
        ("there is no job no-such-job in the workspace",),
        before=UP,
        slow=True,
    ),
    WrongWorld(
        "more GPUs than a node has",
        (*FINE_TUNE, "--gpus", "4"),
        2,
        ("--gpus 4: a Standard_NC24ads_A100_v4 has 1", "fine_tune_size"),
        before=("azure up", "prepare-data"),
    ),
    WrongWorld(
        "a model that neither the workspace nor the registry has",
        (*DEPLOY, "phi-four"),
        2,
        (
            "the workspace phi3flow has no model phi-four, and the registry azureml has no model phi-four (latest); it "
            "has Phi-4",
        ),
        before=UP,
        leaves=(),
    ),
    WrongWorld(
        "a connection for a project that is not there",
        ("connect", "phi3_azure", "--endpoint", "https://x.eastus2.inference.ml.azure.com/score", "--to", "foundry"),
        2,
        ("there is no AI Foundry project phi3flow-project", "phi3flow azure up"),
        environment={"PHI3_KEY": "a-key"},
    ),
    *SERVERLESS_WORLDS,
    *OPENAI_WORLDS,
)
