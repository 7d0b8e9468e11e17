"""Azure Machine Learning workspaces: plain ones, and AI Foundry's hubs and projects, which are workspaces of a kind."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.bodies import bad_argument, check_members, check_texts, need, need_one_of
from tests.azure.emulator.datastores import Datastores
from tests.azure.emulator.managed_identities import check_identity, complete_identity
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import Resources, parse_json_object, resource_type
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_keys import list_keys, list_notebook_keys, list_storage_keys
from tests.azure.emulator.workspace_paths import PROVIDER, TYPE, WORKSPACES, need_workspace
from tests.azure.emulator.world import TENANT

KINDS = ("Default", "Hub", "Project")
PARTS = {
    "storageAccount": "Microsoft.Storage/storageAccounts",
    "keyVault": "Microsoft.KeyVault/vaults",
    "applicationInsights": "Microsoft.Insights/components",
    "containerRegistry": "Microsoft.ContainerRegistry/registries",
}
"""What a workspace stands on, by the property that names it, and the type that it must be of."""

_REQUIRED = {"Default": ("storageAccount", "keyVault", "applicationInsights"), "Hub": ("storageAccount", "keyVault")}
_FIXED = ("storageAccount", "keyVault", "hubResourceId")
_MADE = ("workspaceId", "discoveryUrl", "mlFlowTrackingUri", "notebookInfo", "tenantId", "associatedWorkspaces")
_READ_ONLY = (*_MADE, "provisioningState")
_CHANGEABLE = (
    "applicationInsights",
    "containerRegistry",
    "description",
    "friendlyName",
    "imageBuildCompute",
    "primaryUserAssignedIdentity",
    "publicNetworkAccess",
    "systemDatastoresAuthMode",
)
_MEMBERS = ("id", "name", "type", "systemData", "location", "kind", "identity", "sku", "tags", "properties")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}")


class Workspaces:
    """The subscription's workspaces; a name that was soft-deleted is free once it is purged.

    Purging is ``DELETE …?forceToPurge=true``, on a live workspace or on one that is soft-deleted. Which names are
    taken so comes out when the creation ends, as azure-cli issue 33756 and ResourceModules issue 3596 show.
    """

    def __init__(self, arm: ResourceManager, providers: Providers, datastores: Datastores) -> None:
        self._world, self._identity = arm.world, arm.identity
        self._resources, self._operations = arm.resources, arm.operations
        self._providers, self._datastores = providers, datastores

    def add_routes(self, router: Router) -> None:
        """Register workspaces, their lists and their keys."""
        path = f"{WORKSPACES}/{{workspace}}"
        router.add("GET", path, self._get)
        router.add("PUT", path, self._put)
        router.add("PATCH", path, self._patch)
        router.add("DELETE", path, self._delete)
        router.add("GET", WORKSPACES, self._list)
        router.add("GET", f"/subscriptions/{{subscription}}/providers/{TYPE}", self._list)
        keys = {
            "listKeys": list_keys,
            "listNotebookKeys": list_notebook_keys,
            "listStorageAccountKeys": list_storage_keys,
        }
        for action, answer in keys.items():
            router.add("POST", f"{path}/{action}", lambda request, answer=answer, **_: self._keys(request, answer))

    def _get(self, request: Request, **_: str) -> Reply:
        self._providers.need_group(request.path)
        return self._resources.get(request.path.rstrip("/"))

    def _list(self, request: Request, **_: str) -> Reply:
        base = request.path.lower().partition("/providers/")[0]
        if "/resourcegroups/" in base:
            self._providers.need_group(request.path)
        kinds = [kind for kind in request.query.get("kind", "").lower().split(",") if kind]
        rows = [
            workspace
            for workspace in self._resources
            if workspace["type"] == TYPE
            and workspace["id"].lower().startswith(base + "/")
            and (not kinds or workspace["kind"].lower() in kinds)
        ]
        return Reply(200, {"value": rows})

    def _keys(self, request: Request, answer: Callable[[dict[str, Any], Resources, Blobs], dict[str, Any]]) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")
        return Reply(200, answer(workspace, self._resources, self._datastores.blobs))

    def _put(self, request: Request, workspace: str, **_: str) -> Reply:
        body, path = parse_json_object(request), request.path.rstrip("/")
        self._providers.check_registered(PROVIDER)
        self._providers.need_group(path)
        if not _NAME.fullmatch(workspace):
            raise bad_argument(
                f"Workspace name '{workspace}' is invalid. It must be between 3 and 33 characters long. Its first "
                "character has to be alphanumeric, and the rest may contain hyphens and underscores."
            )
        check_members(body, _MEMBERS)
        return self._write(path, body)

    def _patch(self, request: Request, **_: str) -> Reply:
        body, path = parse_json_object(request), request.path.rstrip("/")
        before = self._resources.need(path)
        check_members(body, ("identity", "kind", "location", "sku", "tags", "properties"))
        for name in body.get("properties") or {}:
            if name not in _CHANGEABLE:
                raise bad_argument(f"The property '{name}' of a workspace cannot be updated.")
        properties = {**before["properties"], **(body.get("properties") or {})}
        return self._write(path, {**{name: before[name] for name in _MEMBERS}, **body, "properties": properties})

    def _write(self, path: str, body: dict[str, Any]) -> Reply:
        before = self._resources.find(path)
        checked = self._check(path, body, before)
        if before:
            _check_unchanged(before, checked)
        reply = self._resources.put(path, checked, finish=self._complete)
        return reply if reply.status == 200 else Reply(202, reply.body, reply.headers)

    def _check(self, path: str, body: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        """Return the workspace as it is kept. Raises ServiceError 400."""
        self._providers.check_location(need(body, "location", str))
        kind = need_one_of(body, "kind", KINDS, "Default")
        need_one_of(body, "sku.name", ("Basic",), "Basic")
        check_texts(body, "tags")
        if not isinstance(body.get("identity"), dict) or body["identity"].get("type") in (None, "None"):
            raise bad_argument("Make sure to create your workspace using a client which support MSI")
        identity = check_identity(body["identity"], before and before["identity"], self._resources)
        settings = {name: value for name, value in need(body, "properties", dict).items() if name not in _READ_ONLY}
        lasting = {name: before["properties"][name] for name in _MADE if before and name in before["properties"]}
        properties = {**settings, **(self._inherited(body) if kind == "Project" else {}), **lasting}
        self._check_parts(kind, properties)
        _check_primary(properties, identity)
        return {
            "location": body["location"],
            "kind": kind,
            "identity": identity,
            "sku": {"name": "Basic", "tier": "Basic"},
            "tags": body.get("tags") or {},
            "properties": {
                "friendlyName": path.rpartition("/")[2],
                "publicNetworkAccess": "Enabled",
                "hbiWorkspace": False,
                **properties,
            },
        }

    def _inherited(self, body: dict[str, Any]) -> dict[str, str]:
        """Return what a project takes over from its hub. Raises ServiceError 400."""
        hub_id = need(body, "properties.hubResourceId", str)
        hub = self._resources.find(hub_id)
        if hub is None or hub["type"] != TYPE or hub["kind"] != "Hub":
            raise bad_argument(f"The hub '{hub_id}' that 'hubResourceId' refers to does not exist.")
        if hub["properties"]["provisioningState"] != "Succeeded":
            raise bad_argument(f"The hub '{hub_id}' is not provisioned: {hub['properties']['provisioningState']}.")
        if hub["location"] != body["location"]:
            raise bad_argument(f"The project must be in the region of its hub, '{hub['location']}'.")
        inherited = {name: hub["properties"][name] for name in PARTS if hub["properties"].get(name)}
        for name in PARTS:
            resource_id = body["properties"].get(name)
            if resource_id and resource_id.lower() != inherited.get(name, "").lower():
                raise bad_argument(f"A project takes over '{name}' from its hub and cannot have another.")
        return inherited

    def _check_parts(self, kind: str, properties: dict[str, Any]) -> None:
        if any(not properties.get(name) for name in _REQUIRED.get(kind, ())):
            raise ServiceError(400, "ValidationError", "Missing dependent resources in workspace json")
        for name, type_ in PARTS.items():
            if not properties.get(name):
                continue
            resource_id = need(properties, name, str)
            if resource_type(resource_id).lower() != type_.lower():
                raise bad_argument(f"'{resource_id}' of '{name}' is not the ARM id of a {type_}.")
            resource = self._resources.find(resource_id)
            if resource is None:
                raise bad_argument(f"The resource '{resource_id}' that '{name}' refers to was not found.")
            if resource["properties"]["provisioningState"] != "Succeeded":
                state = resource["properties"]["provisioningState"]
                raise bad_argument(f"The resource '{resource_id}' that '{name}' refers to is in state {state}.")
            if name == "storageAccount" and resource["properties"].get("isHnsEnabled"):
                raise bad_argument(f"The storage account '{resource_id}' has a hierarchical namespace: not supported.")

    def _complete(self, stored: dict[str, Any]) -> None:
        path, location, properties = stored["id"], stored["location"], stored["properties"]
        if path.lower() in self._world.soft_deleted:
            self._resources.delete(path, asynchronous=False)
            message = "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete"
            raise ServiceError(400, "BadRequest", message)
        complete_identity(stored["identity"], self._identity)
        workspace_id = properties.setdefault("workspaceId", str(uuid.uuid4()))
        notebooks = f"ml-{stored['name'].lower()}-{location}-{workspace_id}.{location}.notebooks.azure.net"
        properties |= {
            "discoveryUrl": f"https://{location}.api.azureml.ms/discovery",
            "mlFlowTrackingUri": f"azureml://{location}.api.azureml.ms/mlflow/v1.0{path}",
            "notebookInfo": {
                "fqdn": notebooks,
                "resourceId": workspace_id.replace("-", ""),
                "isPrivateLinkEnabled": False,
            },
            "tenantId": TENANT,
        }
        if stored["kind"] == "Project":
            self._associate(stored, properties["hubResourceId"])
        self._datastores.add_defaults(stored)

    def _associate(self, project: dict[str, Any], hub_id: str) -> None:
        projects = self._resources.need(hub_id)["properties"].setdefault("associatedWorkspaces", [])
        if project["id"] not in projects:
            projects.append(project["id"])

    def _delete(self, request: Request, **_: str) -> Reply:
        path = request.path.rstrip("/")
        purge = request.query.get("forceToPurge", "").lower() == "true"
        self._providers.check_unlocked(path)
        live = self._resources.find(path)
        if live is None:
            return self._purge(path) if purge and path.lower() in self._world.soft_deleted else Reply(204)
        projects = live["properties"].get("associatedWorkspaces")
        if projects:
            raise ServiceError(
                409,
                "Conflict",
                f"The hub '{live['name']}' has {len(projects)} associated workspace(s) and cannot be deleted. Delete "
                f"them first: {', '.join(projects)}.",
            )

        def gone() -> None:
            (self._world.soft_deleted.discard if purge else self._world.soft_deleted.add)(path.lower())
            hub = self._resources.find(live["properties"].get("hubResourceId") or "")
            if hub and live["id"] in hub["properties"].get("associatedWorkspaces", []):
                hub["properties"]["associatedWorkspaces"].remove(live["id"])

        return self._resources.delete(path, finish=gone)

    def _purge(self, path: str) -> Reply:
        location = self._providers.need_group(path)["location"]
        _, headers = self._operations.start(
            provider=PROVIDER, location=location, finish=lambda: self._world.soft_deleted.discard(path.lower())
        )
        return Reply(202, None, headers)


def _check_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    if before["location"] != after["location"]:
        raise ServiceError(
            409,
            "InvalidResourceLocation",
            f"The resource '{before['name']}' already exists in location '{before['location']}'. A resource with the "
            f"same name cannot be created in location '{after['location']}'. Please select a new resource name.",
        )
    if before["kind"] != after["kind"]:
        raise bad_argument(f"The kind of a workspace cannot be changed: it is '{before['kind']}'.")
    for name in _FIXED:
        was = str(before["properties"].get(name) or "")
        if was.lower() != str(after["properties"].get(name) or "").lower():
            raise bad_argument(f"The property '{name}' of a workspace cannot be changed: it is '{was}'.")


def _check_primary(properties: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise ServiceError 400 unless the primary identity, needed where there is no other, is an assigned one."""
    primary = properties.get("primaryUserAssignedIdentity")
    assigned = [identity_id.lower() for identity_id in identity.get("userAssignedIdentities", {})]
    if primary is None and identity["type"] == "UserAssigned":
        raise bad_argument("'primaryUserAssignedIdentity' is required where there are user-assigned identities only.")
    if primary is not None and str(primary).lower() not in assigned:
        raise bad_argument(f"'primaryUserAssignedIdentity' '{primary}' is not assigned to the workspace.")
