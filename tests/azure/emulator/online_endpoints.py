"""Managed online endpoints: their identity, keys, and the traffic that they send to their deployments."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.azure.emulator.assets import WORKSPACE, paged
from tests.azure.emulator.bodies import bad_argument, need, need_one_of
from tests.azure.emulator.endpoint_keys import keys_of, regenerate_key
from tests.azure.emulator.managed_identities import check_identity, complete_identity
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import PROVIDER, need_workspace

ENDPOINTS = f"{WORKSPACE}/onlineEndpoints"
TYPE = f"{PROVIDER}/workspaces/onlineEndpoints"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_GUIDE = "https://aka.ms/oe-tsg#error-subscriptionnotregistered"
_MODES = ("Key", "AMLToken", "AADToken")
_URIS = ("scoringUri", "swaggerUri")


class InferencingError(ServiceError):
    """A refusal that comes from the service behind the endpoints, wrapped as Azure ML passes it on."""

    def __init__(self, field: str, message: str, *, code: str = "InferencingClientCreateDeploymentFailed") -> None:
        super().__init__(400, "BadRequest", "The request is invalid.")
        title = "One or more validation errors occurred."
        detail = {"errors": {field: [message]}, "title": title, "status": 400}
        self.details = [
            {"code": code, "message": f"InferencingClient HttpRequest error, error detail: {json.dumps(detail)}"}
        ]

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        error = {"code": self.code, "message": self.message, "details": self.details}
        return Reply(self.status, {"error": error}, {"x-ms-error-code": self.code})


class OnlineEndpoints:
    """A workspace's endpoints; ``keys`` is for who answers their requests."""

    def __init__(self, arm: ResourceManager, providers: Providers) -> None:
        self._world, self._identity, self._providers = arm.world, arm.identity, providers
        self._resources, self._operations = arm.resources, arm.operations

    def add_routes(self, router: Router) -> None:
        """Register endpoints, their keys and tokens."""
        path = f"{ENDPOINTS}/{{endpoint}}"
        router.add("GET", ENDPOINTS, self._list)
        router.add("GET", path, self._get)
        router.add("PUT", path, self._put)
        router.add("PATCH", path, self._patch)
        router.add("DELETE", path, self._delete)
        router.add("POST", f"{path}/listKeys", self._list_keys)
        router.add("POST", f"{path}/regenerateKeys", self._regenerate_keys)
        router.add("POST", f"{path}/token", self._token)

    def keys(self, endpoint_id: str) -> dict[str, str]:
        """Return an endpoint's two keys."""
        return keys_of(self._resources, endpoint_id)

    def find(self, name: str, location: str) -> dict[str, Any] | None:
        """Return the endpoint of that name in a region, where names are unique, None where there is none."""
        for resource in self._resources:
            if resource["type"] == TYPE and (resource["name"].lower(), resource["location"]) == (
                name.lower(),
                location,
            ):
                return resource
        return None

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")
        return paged(request, self._resources.children(workspace["id"], "onlineEndpoints").body["value"])

    def _get(self, request: Request, **_: str) -> Reply:
        need_workspace(self._resources, request.path, action="read")
        return self._resources.get(request.path.rstrip("/"))

    def _put(self, request: Request, endpoint: str, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="write")
        body, before = parse_json_object(request), self._resources.find(request.path)
        if not {"Microsoft.Cdn", "Microsoft.PolicyInsights"} <= self._providers.registered:
            message = "Resource provider [N/A] isn't registered with Subscription [N/A]. Please see troubleshooting "
            raise ServiceError(400, "SubscriptionNotRegistered", f"{message}guide, available here: {_GUIDE}")
        if not NAME.fullmatch(endpoint):
            raise bad_argument(
                f"Endpoint name '{endpoint}' is invalid. It must be 3 to 32 characters long, start with a letter, "
                "consist of letters, digits and hyphens, and not end with a hyphen."
            )
        location = need(body, "location", str)
        if location != workspace["location"]:
            raise bad_argument(f"The endpoint must be in the workspace's region '{workspace['location']}'.")
        namesake = self.find(endpoint, location)
        if not before and (namesake or endpoint in self._world.taken_names):
            message = "There is already an endpoint with this name, Endpoint name needs to be unique within a region. "
            raise InferencingError("", f"{message}Try some other name.", code="InferencingClientCreateEndpointFailed")
        return self._write(request.path, self._check(request.path, body, before))

    def _patch(self, request: Request, **_: str) -> Reply:
        """Change tags and identity, which is all that a PATCH may."""
        need_workspace(self._resources, request.path, action="write")
        body, before = parse_json_object(request), self._resources.need(request.path)
        changed: dict[str, Any] = {name: body[name] for name in ("tags", "identity") if name in body}
        return self._write(request.path, self._check(request.path, {**before, **changed}, before))

    def _write(self, path: str, checked: dict[str, Any]) -> Reply:
        return self._resources.put(path, checked, finish=self._complete)

    def _check(self, path: str, body: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        """Return the endpoint as it is kept. Raises ServiceError 400."""
        properties = need(body, "properties", dict)
        mode = need_one_of(body, "properties.authMode", _MODES)
        if before and mode != before["properties"]["authMode"]:
            raise bad_argument("The auth mode of an endpoint cannot be changed.")
        traffic, mirrored = properties.get("traffic") or {}, properties.get("mirrorTraffic") or {}
        self._check_traffic(path, traffic, mirrored)
        identity = body.get("identity") or {"type": "SystemAssigned"}
        identity = check_identity(identity, before and before["identity"], self._resources)
        kept = {"description": properties.get("description"), "properties": properties.get("properties") or {}}
        return {
            "location": body["location"],
            "kind": "Managed",
            "identity": identity,
            "tags": body.get("tags") or {},
            "properties": {
                **kept,
                "authMode": mode,
                "traffic": traffic,
                "mirrorTraffic": mirrored,
                "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
                **({name: before["properties"][name] for name in _URIS if before and name in before["properties"]}),
            },
        }

    def _check_traffic(self, path: str, traffic: dict[str, Any], mirrored: dict[str, Any]) -> None:
        for name, percent in {**traffic, **mirrored}.items():
            deployment = self._resources.find(f"{path}/deployments/{name}")
            if deployment is None:
                raise bad_argument(f"The traffic refers to the deployment '{name}', which does not exist.")
            if deployment["properties"]["provisioningState"] != "Succeeded" and percent:
                raise bad_argument(f"The deployment '{name}' has not succeeded and cannot be given traffic.")
            if not isinstance(percent, int) or not 0 <= percent <= 100:
                raise bad_argument(f"The traffic of '{name}' must be an integer from 0 to 100, not {percent!r}.")
        if sum(traffic.values()) not in (0, 100):
            raise bad_argument(f"The traffic must sum to 0 or 100, not {sum(traffic.values())}.")
        if mirrored and (len(mirrored) > 1 or sum(mirrored.values()) > 50):
            raise bad_argument("Traffic can be mirrored to one deployment only, and at most 50 percent of it.")

    def _complete(self, stored: dict[str, Any]) -> None:
        complete_identity(stored["identity"], self._identity)
        base = f"https://{stored['name'].lower()}.{stored['location']}.inference.ml.azure.com"
        stored["properties"] |= {"scoringUri": f"{base}/score", "swaggerUri": f"{base}/swagger.json"}
        self.keys(stored["id"])

    def _delete(self, request: Request, **_: str) -> Reply:
        need_workspace(self._resources, request.path, action="delete")
        return self._resources.delete(request.path.rstrip("/"))

    def _list_keys(self, request: Request, **_: str) -> Reply:
        endpoint = self._need(request)
        if endpoint["properties"]["authMode"] != "Key":
            raise bad_argument(f"The endpoint '{endpoint['name']}' does not use keys for authentication.")
        return Reply(200, self.keys(endpoint["id"]))

    def _regenerate_keys(self, request: Request, **_: str) -> Reply:
        """Set a key to the value that is given, or to a new one."""
        endpoint, body = self._need(request), parse_json_object(request)
        regenerate_key(self._resources, endpoint["id"], body)
        operation = self._operations.start(provider=PROVIDER, location=endpoint["location"], finish=lambda: None)
        return Reply(202, None, operation[1])

    def _token(self, request: Request, **_: str) -> Reply:
        endpoint = self._need(request)
        if endpoint["properties"]["authMode"] == "Key":
            raise bad_argument(f"The endpoint '{endpoint['name']}' uses keys for authentication.")
        token = self.keys(endpoint["id"])["primaryKey"]
        return Reply(200, {"accessToken": token, "tokenType": "Bearer", "expiryTimeUtc": 0, "refreshAfterTimeUtc": 0})

    def _need(self, request: Request) -> dict[str, Any]:
        need_workspace(self._resources, request.path, action="read")
        return self._resources.need(request.path.rstrip("/").rpartition("/")[0])
