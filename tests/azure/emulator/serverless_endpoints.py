"""Serverless endpoints: models served without compute, paid by the token, with keys and content safety.

What a body may hold is what Microsoft's types of each api-version have; the words of the refusals are a guess.
"""

from __future__ import annotations

import re
from typing import Any

from tests.azure.emulator.api_versions import CONTENT_SAFETY_SINCE, SERVERLESS_SINCE, check_since, is_since
from tests.azure.emulator.assets import WORKSPACE, Assets, paged
from tests.azure.emulator.bodies import bad_argument, check_members, check_texts, need, need_one_of
from tests.azure.emulator.endpoint_keys import keys_of, regenerate_key
from tests.azure.emulator.managed_identities import check_identity, complete_identity
from tests.azure.emulator.marketplace import MarketplaceSubscriptions
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.registry_content import SERVERLESS_REGIONS
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.serverless_models import ServerlessModel, ServerlessModels
from tests.azure.emulator.workspace_paths import PROVIDER, need_workspace

_BASE = f"{WORKSPACE}/serverlessEndpoints"
TYPE = f"{PROVIDER}/workspaces/serverlessEndpoints"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,51}")
_REGIONS = (*SERVERLESS_REGIONS, "swedencentral")
_MEMBERS = ("id", "name", "type", "systemData", "location", "identity", "kind", "sku", "tags", "properties")
_SHOWN_ONLY = ("endpointState", "inferenceEndpoint", "marketplaceSubscriptionId", "provisioningState")
_MODES = ("Key", "AAD", "KeyAndAAD")


class ServerlessEndpoints:
    """A workspace's serverless endpoints; ``find`` and ``keys`` are for who answers their requests."""

    def __init__(
        self,
        arm: ResourceManager,
        assets: Assets,
        models: ServerlessModels,
        subscriptions: MarketplaceSubscriptions,
    ) -> None:
        self._world, self._identity = arm.world, arm.identity
        self._resources, self._operations = arm.resources, arm.operations
        self._models, self._subscriptions = models, subscriptions
        assets.uses.append(self._users)

    def add_routes(self, router: Router) -> None:
        """Register endpoints, their keys and their status."""
        path = f"{_BASE}/{{endpoint}}"
        router.add("GET", _BASE, self._list)
        router.add("GET", path, self._get)
        router.add("PUT", path, self._put)
        router.add("PATCH", path, self._patch)
        router.add("DELETE", path, self._delete)
        router.add("POST", f"{path}/listKeys", self._list_keys)
        router.add("POST", f"{path}/regenerateKeys", self._regenerate_keys)
        router.add("POST", f"{path}/getStatus", self._status)

    def keys(self, endpoint_id: str) -> dict[str, str]:
        """Return an endpoint's two keys."""
        return keys_of(self._resources, endpoint_id)

    def find(self, name: str, location: str) -> dict[str, Any] | None:
        """Return the endpoint of that name in a region, where names are unique, None where there is none."""
        for endpoint in self._in(location):
            if endpoint["name"].lower() == name.lower():
                return endpoint
        return None

    def model(self, endpoint: dict[str, Any]) -> ServerlessModel:
        """Return the model that an endpoint serves."""
        model: ServerlessModel = self._resources.hidden[endpoint["id"].lower()]["model"]
        return model

    def _in(self, location: str) -> list[dict[str, Any]]:
        return [each for each in self._resources if each["type"] == TYPE and each["location"] == location]

    def _users(self, asset_id: str) -> list[str]:
        """Return the ids of the endpoints that hold on to a model."""
        return [
            endpoint["id"]
            for endpoint in self._resources
            if endpoint["type"] == TYPE and self.model(endpoint).asset_id.lower() == asset_id.lower()
        ]

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = self._need_workspace(request, "read")
        return paged(request, self._resources.children(workspace["id"], "serverlessEndpoints").body["value"])

    def _get(self, request: Request, **_: str) -> Reply:
        self._need_workspace(request, "read")
        reply = self._resources.get(request.path.rstrip("/"))
        properties = reply.body["properties"]
        if properties["provisioningState"] == "Succeeded" and self._world.serverless_lag > 0:
            self._world.serverless_lag -= 1
            properties["endpointState"] = "Creating"
        return reply

    def _put(self, request: Request, endpoint: str, **_: str) -> Reply:
        workspace = self._need_workspace(request, "write")
        body, before = parse_json_object(request), self._resources.find(request.path)
        if not _NAME.fullmatch(endpoint):
            raise bad_argument(f"The endpoint name '{endpoint}' is not valid: it must match {_NAME.pattern}.")
        self._check_place(workspace, body)
        _check_members(request, body)
        model = self._models.find(need(body, "properties.modelSettings.modelId", str))
        if before is None:
            self._check_free(endpoint, workspace, model)
        elif self.model(before) != model:
            raise bad_argument("The model of a serverless endpoint cannot be changed.")
        subscription = self._subscriptions.needed(workspace["id"], model)
        kept = self._kept(body, before, workspace["location"], subscription)
        reply = self._resources.put(request.path, kept, finish=self._complete)
        self._resources.hidden.setdefault(request.path.lower(), {})["model"] = model
        return reply

    def _check_place(self, workspace: dict[str, Any], body: dict[str, Any]) -> None:
        location = workspace["location"]
        if workspace["kind"] == "Hub":
            raise bad_argument(f"'{workspace['name']}' is a hub: endpoints are made in a project or a workspace.")
        if self._world.foundry_deployments_feature:
            raise bad_argument(
                "Serverless API deployments are not available while the preview feature 'Deploy models to Foundry "
                "resources' is turned on. Turn it off to deploy a model as a serverless API."
            )
        if need(body, "location", str) != location:
            raise bad_argument(f"The endpoint must be in the workspace's region '{location}'.")
        if location not in _REGIONS:
            message = f"Serverless endpoints are not available in region '{location}'."
            raise bad_argument(f"{message} The regions are {', '.join(_REGIONS)}.")

    def _check_free(self, name: str, workspace: dict[str, Any], model: ServerlessModel) -> None:
        """Raise ServiceError for a name that is taken, a model that has an endpoint, or a region that is full."""
        location = workspace["location"]
        if self.find(name, location) or name in self._world.taken_names:
            raise ServiceError(409, "Conflict", f"The endpoint name '{name}' is taken in region '{location}'.")
        if len(self._in(location)) >= self._world.serverless_endpoints_limit:
            limit = self._world.serverless_endpoints_limit
            message = f"The limit of {limit} serverless endpoints in region '{location}' is reached."
            raise ServiceError(400, "QuotaExceeded", message)
        for other in self._resources:
            if other["type"] != TYPE or self.model(other) != model:
                continue
            if model.asset_id or other["id"].lower().startswith(f"{workspace['id']}/".lower()):
                message = f"The model '{model.name}' is deployed to the serverless endpoint '{other['name']}' already."
                raise ServiceError(409, "Conflict", message)

    def _kept(
        self, body: dict[str, Any], before: dict[str, Any] | None, location: str, subscription: str | None
    ) -> dict[str, Any]:
        """Return the endpoint as it is kept. Raises ServiceError 400."""
        properties = body["properties"]
        was = before["properties"] if before else {}
        lasting = {name: was[name] for name in ("inferenceEndpoint",) if name in was}
        stays = was.get("endpointState") in ("Online", "Suspended")
        identity = {}
        if body.get("identity"):
            identity["identity"] = check_identity(body["identity"], (before or {}).get("identity"), self._resources)
        return {
            "location": location,
            "sku": body["sku"],
            "tags": body.get("tags") or {},
            **identity,
            "properties": {
                "authMode": properties.get("authMode", "Key"),
                "contentSafety": properties.get("contentSafety") or {"contentSafetyStatus": "Enabled"},
                "modelSettings": properties["modelSettings"],
                "marketplaceSubscriptionId": subscription,
                "endpointState": was["endpointState"] if stays else "Creating",
                **lasting,
            },
        }

    def _complete(self, stored: dict[str, Any]) -> None:
        properties = stored["properties"]
        if "identity" in stored:
            complete_identity(stored["identity"], self._identity)
        if properties["endpointState"] == "Creating" and self._world.failing_serverless > 0:
            self._world.failing_serverless -= 1
            properties["endpointState"] = "CreationFailed"
            raise ServiceError(400, "BadArgument", f"The serverless endpoint '{stored['name']}' could not be created.")
        if properties["endpointState"] == "Creating":
            properties["endpointState"] = "Online"
        uri = f"https://{stored['name'].lower()}.{stored['location']}.models.ai.azure.com"
        properties["inferenceEndpoint"] = {"uri": uri, "headers": {}}
        self.keys(stored["id"])

    def _patch(self, request: Request, **_: str) -> Reply:
        """Change tags, identity and SKU, which is all that a PATCH may."""
        self._need_workspace(request, "write")
        body, before = parse_json_object(request), self._resources.need(request.path)
        check_members(body, ("tags", "identity", "sku"))
        after = {**before, **body}
        _check_sku(after)
        subscription = before["properties"]["marketplaceSubscriptionId"]
        kept = self._kept(after, before, before["location"], subscription)
        reply = self._resources.put(request.path, kept, finish=self._complete)
        return Reply(202, reply.body, reply.headers)

    def _delete(self, request: Request, **_: str) -> Reply:
        self._need_workspace(request, "delete")
        reply = self._resources.delete(request.path.rstrip("/"))
        endpoint = self._resources.find(request.path)
        if endpoint:
            endpoint["properties"]["endpointState"] = "Deleting"
        return reply

    def _list_keys(self, request: Request, **_: str) -> Reply:
        return Reply(200, self.keys(self._need_keyed(request)["id"]))

    def _regenerate_keys(self, request: Request, **_: str) -> Reply:
        """Set a key to the value that is given, or to a new one."""
        endpoint = self._need_keyed(request)
        regenerate_key(self._resources, endpoint["id"], parse_json_object(request))
        operation = self._operations.start(
            provider=PROVIDER,
            location=endpoint["location"],
            finish=lambda: None,
            result=lambda: self.keys(endpoint["id"]),
        )
        return Reply(202, None, {name: value for name, value in operation[1].items() if name != "Azure-AsyncOperation"})

    def _status(self, request: Request, **_: str) -> Reply:
        self._need(request)
        return Reply(200, {"metrics": {}})

    def _need_keyed(self, request: Request) -> dict[str, Any]:
        endpoint = self._need(request)
        if endpoint["properties"]["authMode"] == "AAD":
            raise bad_argument(f"The endpoint '{endpoint['name']}' does not use keys for authentication.")
        return endpoint

    def _need(self, request: Request) -> dict[str, Any]:
        self._need_workspace(request, "read")
        return self._resources.need(request.path.rstrip("/").rpartition("/")[0])

    def _need_workspace(self, request: Request, action: str) -> dict[str, Any]:
        check_since(request, SERVERLESS_SINCE)
        return need_workspace(self._resources, request.path, action=action)


def _check_members(request: Request, body: dict[str, Any]) -> None:
    """Raise ServiceError 400 for what the request's api-version does not know, and for what it requires."""
    check_members(body, _MEMBERS)
    check_texts(body, "tags")
    _check_sku(body)
    properties, is_new = need(body, "properties", dict), is_since(request, CONTENT_SAFETY_SINCE)
    check_members(properties, ("authMode", "modelSettings", *(("contentSafety",) if is_new else ()), *_SHOWN_ONLY))
    check_members(need(body, "properties.modelSettings", dict), ("modelId",))
    need_one_of(body, "properties.authMode", _MODES, None if is_new else "Key")
    if properties.get("contentSafety") is not None:
        safety = need(body, "properties.contentSafety", dict)
        check_members(safety, ("contentSafetyStatus", "contentSafetyLevel"))
        need_one_of(body, "properties.contentSafety.contentSafetyStatus", ("Enabled", "Disabled"))
        need_one_of(body, "properties.contentSafety.contentSafetyLevel", ("Blocking", "Deferred"), "Blocking")


def _check_sku(body: dict[str, Any]) -> None:
    need_one_of(body, "sku.name", ("Consumption",))
