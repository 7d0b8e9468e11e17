"""The list of everything that the settings ask for in Azure, with what each thing needs before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.foundation.resources import Registration, Requirement, Resource, RoleAssignment
from phi3flow.azure.settings import AzureSettings

IDLE_BEFORE_SCALE_DOWN_S = 120
GROUP_VERSION = "2024-03-01"
_PROVIDERS = (
    "Microsoft.ContainerRegistry",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.Storage",
)
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
    settings: AzureSettings, *, tenant_id: str, adopted: Mapping[str, Any] | None = None
) -> list[Requirement]:
    """Return everything, each after what it needs.

    ``adopted`` is the workspace where it exists and is somebody else's: it stays as it is, and so does what it stands
    on, which then is what roles are given on.
    """
    namespaces = [*_PROVIDERS, *([_OPENAI_PROVIDER] if settings.openai_account else [])]
    registrations = [Registration(namespace, settings.subscription) for namespace in namespaces]
    region = {"location": settings.location}
    group = Resource("resource group", settings.group, GROUP_VERSION, {}, initial=region, kept=True)
    needs = (group.key, *(registration.key for registration in registrations))
    foundation = _foundation(settings, tenant_id, needs=needs)
    identity = foundation["identity"]
    bases = {name: foundation[kind].id for name, kind in BASES.items()}
    if adopted is not None:
        foundation = {"identity": identity}
        bases = {name: adopted["properties"][name] for name in BASES if adopted["properties"].get(name)}
    keys = {resource.id: resource.key for resource in foundation.values()}
    workspaces = _workspaces(
        settings, bases, needs=(group.key, *(keys[base] for base in bases.values() if base in keys))
    )
    compute = _compute(settings, needs=(workspaces[0].key,))
    scopes = {"Storage Blob Data Reader": "storageAccount", "AcrPull": "containerRegistry"}
    roles = [
        _role("Contributor", group.id, (group.key,), identity),
        *(
            _role(role, bases[name], (keys[bases[name]],) if bases[name] in keys else (), identity)
            for role, name in scopes.items()
            if name in bases
        ),
        _role("Azure AI Developer", group.id, (group.key,), None),
    ]
    openai = _openai(settings, needs=(group.key, registrations[-1].key)) if settings.openai_account else []
    return [*registrations, group, *foundation.values(), *workspaces, compute, *roles, *openai]


def _foundation(settings: AzureSettings, tenant_id: str, *, needs: tuple[str, ...]) -> dict[str, Resource]:
    """Return the identity and what a workspace stands on."""
    identity = Resource(
        "managed identity",
        settings.id_of("Microsoft.ManagedIdentity/userAssignedIdentities", settings.identity),
        "2023-01-31",
        {"location": settings.location},
        needs,
    )
    registry = Resource(
        "container registry",
        settings.id_of("Microsoft.ContainerRegistry/registries", settings.container_registry),
        "2023-07-01",
        {"location": settings.location, "sku": {"name": "Standard"}, "properties": {"adminUserEnabled": True}},
        needs,
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
    return Resource(
        "storage account",
        settings.id_of("Microsoft.Storage/storageAccounts", settings.storage_account),
        "2023-05-01",
        {
            "location": settings.location,
            "sku": {"name": "Standard_LRS"},
            "kind": "StorageV2",
            "properties": properties,
        },
        needs,
    )


def _vault(settings: AzureSettings, tenant_id: str, needs: tuple[str, ...]) -> Resource:
    properties = {"tenantId": tenant_id, "sku": {"family": "A", "name": "standard"}}
    return Resource(
        "key vault",
        settings.id_of("Microsoft.KeyVault/vaults", settings.key_vault),
        "2023-07-01",
        {"location": settings.location, "properties": properties},
        needs,
        initial={"properties": {"accessPolicies": []}},
        restore={"properties": {"createMode": "recover"}},
    )


def _observation(settings: AzureSettings, needs: tuple[str, ...]) -> dict[str, Resource]:
    """Return application insights, and the logs that it stands on."""
    logs = Resource(
        "log analytics workspace",
        settings.id_of("Microsoft.OperationalInsights/workspaces", settings.log_analytics),
        "2023-09-01",
        {"location": settings.location, "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}},
        needs,
        deletion={"force": "true"},
    )
    properties = {"Application_Type": "web", "WorkspaceResourceId": logs.id}
    insights = Resource(
        "application insights",
        settings.id_of("Microsoft.Insights/components", settings.application_insights),
        "2020-02-02",
        {"location": settings.location, "kind": "web", "properties": properties},
        (logs.key,),
    )
    return {"logs": logs, "insights": insights}


def _workspaces(settings: AzureSettings, bases: Mapping[str, str], *, needs: tuple[str, ...]) -> list[Resource]:
    """Return workspace, hub and project; workspace and hub stand on the same bases. The hub has no AI Search."""

    def workspace(label: str, name: str, kind: str, needs: tuple[str, ...], properties: Mapping[str, str]) -> Resource:
        body = {
            "location": settings.location,
            "kind": kind,
            "identity": {"type": "SystemAssigned"},
            "properties": {"friendlyName": name, **properties},
        }
        purge = {"forceToPurge": "true"}  # a soft-deleted workspace would keep its name, and a second `up` fail
        return Resource(label, settings.workspace_id(name), ML_VERSION, body, needs, deletion=purge)

    hub = workspace("AI Foundry hub", settings.hub, "Hub", needs, bases)
    return [
        workspace("workspace", settings.workspace, "Default", needs, bases),
        hub,
        workspace("AI Foundry project", settings.project, "Project", (hub.key,), {"hubResourceId": hub.id}),
    ]


def _compute(settings: AzureSettings, *, needs: tuple[str, ...]) -> Resource:
    scale = {
        "minNodeCount": 0,
        "maxNodeCount": settings.max_nodes,
        "nodeIdleTimeBeforeScaleDown": f"PT{IDLE_BEFORE_SCALE_DOWN_S}S",
    }
    cluster = {"vmSize": settings.fine_tune_size, "vmPriority": "Dedicated", "scaleSettings": scale}
    return Resource(
        "compute cluster",
        f"{settings.workspace_id(settings.workspace)}/computes/{settings.compute}",
        ML_VERSION,
        {"location": settings.location, "properties": {"computeType": "AmlCompute", "properties": cluster}},
        needs,
        deletion={"underlyingResourceAction": "Delete"},
        vm_size=settings.fine_tune_size,
        nodes=settings.max_nodes,
    )


def _openai(settings: AzureSettings, *, needs: tuple[str, ...]) -> list[Requirement]:
    """Return the Azure OpenAI resource and the caller's roles on it."""
    account = Resource(
        "Azure OpenAI resource",
        settings.id_of("Microsoft.CognitiveServices/accounts", str(settings.openai_account)),
        "2024-10-01",
        {
            "location": settings.location,
            "kind": "OpenAI",
            "sku": {"name": "S0"},
            "properties": {"customSubDomainName": settings.openai_account},
        },
        needs,
        restore={"properties": {"restore": True}},
    )
    on_account = [_role(role, account.id, (account.key,), None) for role in _OPENAI_ROLES]
    return [account, *on_account, _role("Cognitive Services Usages Reader", settings.subscription, needs, None)]


def _role(role: str, scope: str, needs: tuple[str, ...], identity: Resource | None) -> RoleAssignment:
    return RoleAssignment(role, scope, identity, (*needs, *([identity.key] if identity else [])))
