"""The subscription itself, its providers, resource groups, and the resources that a workspace leans on."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import not_found, parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import PROVIDERS, SUBSCRIPTION, TENANT

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_REGION = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Names:
    """What the names of a type must be like, and whether each is given once in the world, or once in a group."""

    pattern: str
    worldwide: bool = False


@dataclass(frozen=True)
class Kind:
    """A type of resource: its names, what a body must have, and how it is made and deleted."""

    type: str
    names: Names
    required: tuple[str, ...] = ("location",)
    asynchronous: bool = True
    soft_deletes: bool = False


KINDS = (
    Kind(
        "Microsoft.Storage/storageAccounts",
        Names(r"[a-z0-9]{3,24}", worldwide=True),
        ("location", "sku.name", "kind"),
    ),
    Kind(
        "Microsoft.KeyVault/vaults",
        Names(r"[A-Za-z](?:-?[A-Za-z0-9]){1,22}[A-Za-z0-9]", worldwide=True),
        ("location", "properties.tenantId", "properties.sku.name", "properties.sku.family"),
        soft_deletes=True,
    ),
    Kind("Microsoft.OperationalInsights/workspaces", Names(r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]")),
    Kind(
        "Microsoft.Insights/components",
        Names(r".{1,260}"),
        ("location", "kind", "properties.Application_Type"),
        asynchronous=False,
    ),
    Kind(
        "Microsoft.ContainerRegistry/registries",
        Names(r"[A-Za-z0-9]{5,50}", worldwide=True),
        ("location", "sku.name"),
    ),
    Kind(
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        Names(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}"),
        asynchronous=False,
    ),
)


class Providers:
    """Everything of a subscription but Azure Machine Learning and Azure OpenAI."""

    def __init__(self, arm: ResourceManager) -> None:
        self._world, self._identity, self._resources = arm.world, arm.identity, arm.resources
        self.registered = set(PROVIDERS) - arm.world.unregistered
        self._registering: dict[str, int] = {}
        self._principals: dict[str, dict[str, str]] = {}

    def add_routes(self, router: Router) -> None:
        """Register the subscription, its providers and groups, and each kind of resource."""
        router.add("GET", "/subscriptions/{subscription}", self._subscription)
        router.add("GET", "/subscriptions/{subscription}/providers", self._list_providers)
        router.add("GET", "/subscriptions/{subscription}/providers/{provider}", self._provider)
        router.add("POST", "/subscriptions/{subscription}/providers/{provider}/register", self._register)
        router.add("GET", _GROUP, self._get)
        router.add("PUT", _GROUP, self._put_group)
        router.add("DELETE", _GROUP, self._delete)
        router.add("GET", f"{_GROUP}/resources", self._list_group)
        for kind in KINDS:
            self._add_kind(router, kind)
        path = "/subscriptions/{subscription}/providers/{provider}"
        router.add("POST", f"{path}/checkNameAvailability", self._check_name)
        path = "/subscriptions/{subscription}/providers/Microsoft.KeyVault/locations/{location}/deletedVaults/{name}"
        router.add("GET", path, self._deleted_vault)

    def check_registered(self, provider: str) -> None:
        """Raise ServiceError 409 where the subscription has not registered a provider."""
        if provider.lower() not in {name.lower() for name in self.registered}:
            raise ServiceError(
                409,
                "MissingSubscriptionRegistration",
                f"The subscription is not registered to use namespace '{provider}'. See https://aka.ms/rps-not-found "
                "for how to register subscriptions.",
            )

    def check_unlocked(self, resource_id: str) -> None:
        """Raise ServiceError 409 where a lock holds the resource."""
        if resource_id.lower() in {lock.lower() for lock in self._world.locked}:
            message = (
                f"The scope '{resource_id}' cannot perform delete operation because following scope(s) are locked."
            )
            raise ServiceError(409, "ScopeLocked", message)

    def check_location(self, location: str) -> None:
        """Raise ServiceError 400 for a region that is none."""
        if not _REGION.fullmatch(location) or location not in self._world.sizes:
            regions = ", ".join(sorted(self._world.sizes))
            message = f"The provided location '{location}' is not available. The locations are '{regions}'."
            raise ServiceError(400, "LocationNotAvailableForResourceType", message)

    def _add_kind(self, router: Router, kind: Kind) -> None:
        path = f"{_GROUP}/providers/{kind.type}/{{name}}"

        def put(request: Request, **_: str) -> Reply:
            return self._put(request, kind)

        def delete(request: Request, **_: str) -> Reply:
            return self._delete(request, kind=kind)

        router.add("GET", path, self._get)
        router.add("PUT", path, put)
        router.add("DELETE", path, delete)
        router.add("GET", f"{_GROUP}/providers/{kind.type}", self._list_kind)

    def _subscription(self, request: Request, subscription: str) -> Reply:
        if subscription != SUBSCRIPTION:
            message = f"The subscription '{subscription}' could not be found."
            raise ServiceError(404, "SubscriptionNotFound", message)
        policies = {"quotaId": self._world.quota_id, "spendingLimit": self._world.spending_limit}
        body = {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "tenantId": TENANT}
        return Reply(200, {**body, "displayName": "tests", "state": "Enabled", "subscriptionPolicies": policies})

    def _list_providers(self, request: Request, subscription: str) -> Reply:
        return Reply(200, {"value": [self._describe(name) for name in PROVIDERS]})

    def _provider(self, request: Request, subscription: str, provider: str) -> Reply:
        return Reply(200, self._describe(_known_provider(provider)))

    def _register(self, request: Request, subscription: str, provider: str) -> Reply:
        name = _known_provider(provider)
        if name not in self.registered:
            self._registering.setdefault(name, self._world.operation_polls)
        return Reply(200, self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        """Describe a provider; each look at one that is being registered brings it nearer."""
        state = "Registered" if name in self.registered else "NotRegistered"
        if name in self._registering:
            state = "Registering"
            self._registering[name] -= 1
            if self._registering[name] <= 0:
                self.registered.add(name)
                del self._registering[name]
        body = {"id": f"/subscriptions/{SUBSCRIPTION}/providers/{name}", "namespace": name}
        return {**body, "registrationState": state, "resourceTypes": []}

    def _get(self, request: Request, **_: str) -> Reply:
        group = "/".join(request.path.split("/")[:5])
        if group not in self._resources:
            name = group.rpartition("/")[2]
            raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return self._resources.get(request.path)

    def _put_group(self, request: Request, group: str, **_: str) -> Reply:
        body = parse_json_object(request)
        _need(body, ("location",))
        self.check_location(body["location"])
        before = self._resources.find(request.path)
        if before and before["location"] != body["location"]:
            message = f"Invalid resource group location '{body['location']}'. The Resource group already exists in "
            raise ServiceError(409, "InvalidResourceGroupLocation", message + f"location '{before['location']}'.")
        return self._resources.put(request.path, body, asynchronous=False)

    def _list_group(self, request: Request, **_: str) -> Reply:
        self.need_group(request.path)
        prefix = "/".join(request.path.split("/")[:5]).lower() + "/providers/"
        rows = [
            {
                name: resource[name]
                for name in ("id", "name", "type", "location", "tags", "kind", "sku")
                if name in resource
            }
            for resource in self._resources
            if resource["id"].lower().startswith(prefix)
            and resource["id"].lower().removeprefix(prefix).count("/") == 2
            and "location" in resource
        ]
        return Reply(200, {"value": rows})

    def _check_name(self, request: Request, provider: str, **_: str) -> Reply:
        body = parse_json_object(request)
        _need(body, ("name", "type"))
        kind = next((kind for kind in KINDS if kind.type == body["type"] and kind.names.worldwide), None)
        if kind is None or not kind.type.lower().startswith(f"{provider.lower()}/"):
            raise ServiceError(400, "InvalidResourceType", f"The type '{body['type']}' has no names to check.")
        if not re.fullmatch(kind.names.pattern, body["name"]):
            message = f"{body['name']} is not a valid name."
            return Reply(200, {"nameAvailable": False, "reason": "AccountNameInvalid", "message": message})
        end = f"/{kind.type}/{body['name']}".lower()
        held = [resource["id"] for resource in self._resources] + list(self._world.soft_deleted)
        if body["name"] in self._world.taken_names or any(resource_id.lower().endswith(end) for resource_id in held):
            message = f"The name {body['name']} is already taken."
            return Reply(200, {"nameAvailable": False, "reason": "AlreadyExists", "message": message})
        return Reply(200, {"nameAvailable": True})

    def _deleted_vault(self, request: Request, name: str, **_: str) -> Reply:
        end = f"/providers/microsoft.keyvault/vaults/{name}".lower()
        vault_id = next((resource_id for resource_id in self._world.soft_deleted if resource_id.endswith(end)), None)
        if vault_id is None:
            raise ServiceError(404, "DeletedVaultNotFound", f"There is no deleted vault {name}.")
        return Reply(200, {"id": request.path, "name": name, "properties": {"vaultId": vault_id}})

    def _list_kind(self, request: Request, **_: str) -> Reply:
        base, kind = request.path.rstrip("/").rsplit("/", 1)
        return self._resources.children(base, kind)

    def _put(self, request: Request, kind: Kind) -> Reply:
        body, name = parse_json_object(request), request.path.rpartition("/")[2]
        self.check_registered(kind.type.partition("/")[0])
        self.need_group(request.path)
        if not re.fullmatch(kind.names.pattern, name):
            message = f"The resource name '{name}' of {kind.type} is not valid: it must match {kind.names.pattern}."
            raise ServiceError(400, "InvalidResourceName", message)
        _need(body, kind.required)
        self.check_location(body["location"])
        if kind.names.worldwide and name in self._world.taken_names and request.path not in self._resources:
            noun = kind.type.rpartition("/")[2]
            raise ServiceError(409, "NameNotAvailable", f"The {noun} name '{name}' is already taken.")
        self._check_soft_deleted(request.path, body, kind)
        complete = {"Microsoft.ManagedIdentity": self._complete_identity, "Microsoft.Insights": _complete_insights}
        finish = complete.get(kind.type.partition("/")[0], lambda _: None)
        return self._resources.put(request.path, body, asynchronous=kind.asynchronous, finish=finish)

    def _check_soft_deleted(self, resource_id: str, body: dict[str, Any], kind: Kind) -> None:
        if not kind.soft_deletes or resource_id.lower() not in self._world.soft_deleted:
            return
        properties = body.get("properties") or {}
        if properties.get("createMode") != "recover" and properties.get("restore") is not True:
            raise ServiceError(
                409,
                "ConflictError",
                f"A {kind.type} with the same name already exists in deleted state. You need to either recover or "
                "purge existing one.",
            )
        self._world.soft_deleted.discard(resource_id.lower())

    def _delete(self, request: Request, *, kind: Kind | None = None, **_: str) -> Reply:
        self.check_unlocked(request.path)
        if kind and kind.soft_deletes and request.path in self._resources:
            self._world.soft_deleted.add(request.path.lower())
        self._principals.pop(request.path.lower(), None)
        return self._resources.delete(request.path, asynchronous=kind is None or kind.asynchronous)

    def need_group(self, path: str) -> dict[str, Any]:
        """Return the resource group that a path lies in. Raises ServiceError 404."""
        group_id = "/".join(path.split("/")[:5])
        group = self._resources.find(group_id)
        if group is None:
            name = group_id.rpartition("/")[2]
            raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return group

    def _complete_identity(self, stored: dict[str, Any]) -> None:
        key = stored["id"].lower()
        if key not in self._principals:
            principal = {"principalId": str(uuid.uuid4()), "clientId": str(uuid.uuid4()), "tenantId": TENANT}
            self._principals[key] = principal
            self._identity.add_principal(principal["principalId"])
        stored.setdefault("properties", {}).update(self._principals[key])


def _complete_insights(stored: dict[str, Any]) -> None:
    stored["properties"].setdefault("InstrumentationKey", str(uuid.uuid4()))


def _known_provider(name: str) -> str:
    for provider in PROVIDERS:
        if provider.lower() == name.lower():
            return provider
    raise not_found(f"/providers/{name}")


def _need(body: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value: Any = body
        for member in name.split("."):
            value = value.get(member) if isinstance(value, dict) else None
        if not value:
            raise ServiceError(400, "InvalidRequestContent", f"The required property '{name}' is missing.")
