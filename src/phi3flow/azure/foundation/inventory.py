"""The list of everything that the settings ask for in Azure, with what each thing needs before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.foundation.resources import Registration, Requirement, Resource, RoleAssignment
from phi3flow.azure.openai.account import ACCOUNTS, OPENAI_VERSION
from phi3flow.azure.settings import AzureSettings, plain_region
from phi3flow.azure.tags import is_tagged

IDLE_BEFORE_SCALE_DOWN_S = 120
GROUP_VERSION = "2024-03-01"
PROVIDERS = (
    "Microsoft.Cdn",
    "Microsoft.Compute",
    "Microsoft.ContainerRegistry",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.PolicyInsights",
    "Microsoft.Quota",
    "Microsoft.Storage",
)
"""What a subscription must have registered: an online endpoint needs Cdn and PolicyInsights, nodes Compute, and
`az quota` Quota (learn.microsoft.com: how-to-troubleshoot-online-endpoints)."""
_OPENAI_PROVIDER = "Microsoft.CognitiveServices"
_OPENAI_ROLES = (
    "Cognitive Services OpenAI Contributor",
    "Cognitive Services OpenAI User",
    "Cognitive Services Contributor",
)
BASES = {
    "storageAccount": "storage",
    "keyVault": "vault",
    "applicationInsights": "insights",
    "containerRegistry": "registry",
}
"""What a workspace stands on, by the property that names it."""


def list_requirements(
    settings: AzureSettings, *, tenant_id: str, existing: Mapping[str, Any] | None = None
) -> list[Requirement]:
    """Return everything, each after what it needs.

    ``existing`` is the workspace where there is one: what it stands on is used in place of what the settings would
    name, its region in place of theirs, and one that is somebody else's stays as it is.
    """
    if existing is not None:
        settings = settings.model_copy(update={"location": plain_region(str(existing["location"]))})
    namespaces = [*PROVIDERS, *([_OPENAI_PROVIDER] if settings.openai_account else [])]
    registrations = [Registration(namespace, settings.subscription) for namespace in namespaces]
    region = {"location": settings.location}
    group = Resource("resource group", settings.group, GROUP_VERSION, {}, initial=region, kept=True)
    needs = (group.key, *(registration.key for registration in registrations))
    foundation = _foundation(settings, tenant_id, needs=needs)
    bases = {name: foundation[kind].id for name, kind in BASES.items()}
    if existing is not None:
        bases = {name: existing["properties"][name] for name in BASES if existing["properties"].get(name)}
        foundation = _standing(foundation, bases, is_ours=is_tagged(existing))
    keys = {resource.id.lower(): resource.key for resource in foundation.values()}
    on_base = {name: (keys[base.lower()],) if base.lower() in keys else () for name, base in bases.items()}
    workspaces = _workspaces(settings, bases, needs=(group.key, *(key for keys in on_base.values() for key in keys)))
    compute = _compute(settings, needs=(workspaces[0].key,))
    roles = _roles(group, bases, on_base, foundation["identity"])
    openai = _openai(settings, needs=(group.key, registrations[-1].key)) if settings.openai_account else []
    return [*registrations, group, *foundation.values(), *workspaces, compute, *roles, *openai]


def list_removable(settings: AzureSettings, *, tenant_id: str, existing: Mapping[str, Any] | None) -> list[Requirement]:
    """Return everything that may have been made: under the settings' names, and on what the workspace stands on."""
    named = list_requirements(settings, tenant_id=tenant_id)
    adopted = list_requirements(settings, tenant_id=tenant_id, existing=existing)
    return list({requirement.key: requirement for requirement in (*adopted, *named)}.values())


def _standing(foundation: Mapping[str, Resource], bases: Mapping[str, str], *, is_ours: bool) -> dict[str, Resource]:
    """Return what of the foundation an existing workspace needs: what it stands on, if that is under our names."""
    ids = {base.lower() for base in bases.values()} if is_ours else set()
    standing = {kind: resource for kind, resource in foundation.items() if resource.key in ids}
    if "insights" in standing:
        standing = {"logs": foundation["logs"], **standing}
    return {"identity": foundation["identity"], **standing}


def _roles(
    group: Resource, bases: Mapping[str, str], on_base: Mapping[str, tuple[str, ...]], identity: Resource
) -> list[RoleAssignment]:
    """Return what the identity may do, which endpoints act as, and what the caller may."""
    scopes = {"Storage Blob Data Reader": "storageAccount", "AcrPull": "containerRegistry"}
    return [
        _role("Contributor", group.id, (group.key,), identity),
        *(_role(role, bases[name], on_base[name], identity) for role, name in scopes.items() if name in bases),
        _role("Azure AI Developer", group.id, (group.key,), None),
    ]


def _foundation(settings: AzureSettings, tenant_id: str, *, needs: tuple[str, ...]) -> dict[str, Resource]:
    """Return the identity and what a workspace stands on; of all these the settings ask only that they exist."""
    region = {"location": settings.location}
    identity = Resource(
        "managed identity",
        settings.id_of("Microsoft.ManagedIdentity/userAssignedIdentities", settings.identity),
        "2023-01-31",
        {},
        needs,
        initial=region,
    )
    registry = Resource(
        "container registry",
        settings.id_of("Microsoft.ContainerRegistry/registries", settings.container_registry),
        "2023-07-01",
        {},
        needs,
        initial={**region, "sku": {"name": "Standard"}, "properties": {"adminUserEnabled": True}},
    )
    return {
        "identity": identity,
        "storage": _storage(settings, needs),
        "vault": _vault(settings, tenant_id, needs),
        **_observation(settings, needs),
        "registry": registry,
    }


def _storage(settings: AzureSettings, needs: tuple[str, ...]) -> Resource:
    properties = {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True}
    kind = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    return Resource(
        "storage account",
        settings.id_of("Microsoft.Storage/storageAccounts", settings.storage_account),
        "2023-05-01",
        {},
        needs,
        initial={"location": settings.location, **kind, "properties": properties},
    )


def _vault(settings: AzureSettings, tenant_id: str, needs: tuple[str, ...]) -> Resource:
    properties = {"tenantId": tenant_id, "sku": {"family": "A", "name": "standard"}, "accessPolicies": []}
    return Resource(
        "key vault",
        settings.id_of("Microsoft.KeyVault/vaults", settings.key_vault),
        "2023-07-01",
        {},
        needs,
        initial={"location": settings.location, "properties": properties},
        restore={"properties": {"createMode": "recover"}},
    )


def _observation(settings: AzureSettings, needs: tuple[str, ...]) -> dict[str, Resource]:
    """Return application insights, and the logs that it stands on."""
    region = {"location": settings.location}
    logs = Resource(
        "log analytics workspace",
        settings.id_of("Microsoft.OperationalInsights/workspaces", settings.log_analytics),
        "2023-09-01",
        {},
        needs,
        initial={**region, "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}},
        deletion={"force": "true"},
    )
    properties = {"Application_Type": "web", "WorkspaceResourceId": logs.id}
    insights = Resource(
        "application insights",
        settings.id_of("Microsoft.Insights/components", settings.application_insights),
        "2020-02-02",
        {},
        (logs.key,),
        initial={**region, "kind": "web", "properties": properties},
    )
    return {"logs": logs, "insights": insights}


def _workspaces(settings: AzureSettings, bases: Mapping[str, str], *, needs: tuple[str, ...]) -> list[Resource]:
    """Return workspace, hub and project; workspace and hub stand on the same bases. The hub has no AI Search."""

    def workspace(label: str, name: str, kind: str, needs: tuple[str, ...], properties: Mapping[str, str]) -> Resource:
        hub = {"properties": {"hubResourceId": properties["hubResourceId"]}} if kind == "Project" else {}
        initial = {
            "location": settings.location,
            "identity": {"type": "SystemAssigned"},
            "properties": {"friendlyName": name, **properties},
        }
        purge = {"forceToPurge": "true"}  # a soft-deleted workspace would keep its name, and a second `up` fail
        body = {"kind": kind, **hub}
        return Resource(label, settings.workspace_id(name), ML_VERSION, body, needs, initial=initial, deletion=purge)

    hub = workspace("AI Foundry hub", settings.hub, "Hub", needs, bases)
    return [
        workspace("workspace", settings.workspace, "Default", needs, bases),
        hub,
        workspace("AI Foundry project", settings.project, "Project", (hub.key,), {"hubResourceId": hub.id}),
    ]


def _compute(settings: AzureSettings, *, needs: tuple[str, ...]) -> Resource:
    def cluster(scale: Mapping[str, Any], **values: Any) -> dict[str, Any]:
        return {"properties": {"properties": {**values, "scaleSettings": scale}}}

    rest = {"minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": f"PT{IDLE_BEFORE_SCALE_DOWN_S}S"}
    initial = cluster(rest, vmPriority="Dedicated")
    initial["properties"]["computeType"] = "AmlCompute"
    return Resource(
        "compute cluster",
        f"{settings.workspace_id(settings.workspace)}/computes/{settings.compute}",
        ML_VERSION,
        cluster({"maxNodeCount": settings.max_nodes}, vmSize=settings.fine_tune_size),
        needs,
        initial={"location": settings.location, **initial},
        changed_at=("properties", "properties", "scaleSettings"),
        deletion={"underlyingResourceAction": "Delete"},
        vm_size=settings.fine_tune_size,
        nodes=settings.max_nodes,
    )


def _openai(settings: AzureSettings, *, needs: tuple[str, ...]) -> list[Requirement]:
    """Return the Azure OpenAI resource and the caller's roles on it.

    A new one is a Foundry resource, in which anybody can fine-tune, and which serves all that one of the kind OpenAI
    does; projects in it need an identity. One that exists stays of its kind.
    """
    properties = {"customSubDomainName": settings.openai_account, "allowProjectManagement": True}
    account = Resource(
        "Azure OpenAI resource",
        settings.id_of(ACCOUNTS, str(settings.openai_account)),
        OPENAI_VERSION,
        {},
        needs,
        initial={
            "location": settings.location,
            "kind": "AIServices",
            "sku": {"name": "S0"},
            "identity": {"type": "SystemAssigned"},
            "properties": properties,
        },
        restore={"properties": {"restore": True}},
    )
    on_account = [_role(role, account.id, (account.key,), None) for role in _OPENAI_ROLES]
    return [account, *on_account, _role("Cognitive Services Usages Reader", settings.subscription, needs, None)]


def _role(role: str, scope: str, needs: tuple[str, ...], identity: Resource | None) -> RoleAssignment:
    return RoleAssignment(role, scope, identity, (*needs, *([identity.key] if identity else [])))
