"""Deployments of models behind online endpoints: what they need, what they cost of the quota, and how they fail."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

from tests.azure.emulator.assets import Assets, paged
from tests.azure.emulator.bodies import at, bad_argument, need, need_one_of
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.online_endpoints import ENDPOINTS, NAME, InferencingError
from tests.azure.emulator.online_endpoints import TYPE as ENDPOINT_TYPE
from tests.azure.emulator.pipeline_rules import PipelineRules
from tests.azure.emulator.quota import Quota
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import need_workspace
from tests.azure.emulator.world import SUBSCRIPTION, VmSize

TYPE = f"{ENDPOINT_TYPE}/deployments"
_HELP = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#"
_WITHOUT_RESERVE = re.compile(r"standard_(?:nc\d+adi?s_(?:a100_v4|h100_v5)|nd\w+)", re.IGNORECASE)
"""The sizes for which no quota is kept back for upgrades (Managed online endpoints SKU list, last column)."""
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_LEAST_S = {"initialDelay": 0, "period": 1, "timeout": 1}
_LONGEST_REQUEST_S = 180
_SCALES = ("Default", "TargetUtilization")
_BLOB_ROLES = ("Storage Blob Data Reader", "Storage Blob Data Contributor", "Storage Blob Data Owner")


class Deployments:
    """An endpoint's deployments; they are counted in the quota, and hold on to their models."""

    def __init__(
        self, arm: ResourceManager, assets: Assets, registry: Registry, quota: Quota, rules: PipelineRules
    ) -> None:
        self._world, self._resources, self._roles = arm.world, arm.resources, arm.roles
        self._assets, self._registry, self._quota, self._rules = assets, registry, quota, rules
        quota.usage_sources.append(self._cores)
        assets.uses.append(self._users)

    def add_routes(self, router: Router) -> None:
        """Register deployments and their logs."""
        base = f"{ENDPOINTS}/{{endpoint}}/deployments"
        router.add("GET", base, self._list)
        path = f"{base}/{{deployment}}"
        router.add("GET", path, self._get)
        router.add("PUT", path, self._put)
        router.add("PATCH", path, self._patch)
        router.add("DELETE", path, self._delete)
        router.add("POST", f"{path}/getLogs", self._logs)

    def model_type(self, deployment: dict[str, Any]) -> str:
        """Return the type of a deployment's model, "" where it has none."""
        model = deployment["properties"].get("model")
        if not model:
            return ""
        version = self._registry.find(model) if model.startswith("azureml://") else self._assets.need_version(model)
        return str(version["properties"]["modelType"])

    def environment(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of a deployment's environment, {} where it has none of its own."""
        environment_id = deployment["properties"].get("environmentId")
        if not environment_id:
            return {}
        version = (
            self._registry.find(environment_id)
            if environment_id.startswith("azureml://")
            else self._assets.need_version(environment_id)
        )
        properties: dict[str, Any] = version["properties"]
        return properties

    def _cores(self, location: str) -> Counter[str]:
        used: Counter[str] = Counter()
        for deployment in self._resources:
            if deployment["type"] == TYPE and deployment["location"] == location:
                size = self._quota.size(location, deployment["properties"]["instanceType"])
                used[size.family] += _cores(size, deployment["sku"]["capacity"])
        return used

    def _users(self, asset_id: str) -> list[str]:
        deployments = [deployment for deployment in self._resources if deployment["type"] == TYPE]
        return [
            deployment["id"]
            for deployment in deployments
            if str(deployment["properties"].get("model")).lower() == asset_id.lower()
        ]

    def _list(self, request: Request, **_: str) -> Reply:
        endpoint = self._need_endpoint(request, "read")
        return paged(request, self._resources.children(endpoint["id"], "deployments").body["value"])

    def _get(self, request: Request, **_: str) -> Reply:
        self._need_endpoint(request, "read")
        return self._resources.get(request.path.rstrip("/"))

    def _put(self, request: Request, deployment: str, **_: str) -> Reply:
        endpoint = self._need_endpoint(request, "write")
        if not NAME.fullmatch(deployment):
            raise bad_argument(
                f"Deployment name '{deployment}' is invalid. It must be 3 to 32 characters long, start with a letter, "
                "and consist of letters, digits and hyphens."
            )
        return self._write(request.path, parse_json_object(request), endpoint)

    def _patch(self, request: Request, **_: str) -> Reply:
        """Change tags and the number of instances, which is all that a PATCH may."""
        endpoint, before = self._need_endpoint(request, "write"), self._resources.need(request.path)
        body = parse_json_object(request)
        changed: dict[str, Any] = {name: body[name] for name in ("tags", "sku") if name in body}
        return self._write(request.path, {**before, **changed}, endpoint)

    def _write(self, path: str, body: dict[str, Any], endpoint: dict[str, Any]) -> Reply:
        if endpoint["properties"]["provisioningState"] != "Succeeded":
            state = endpoint["properties"]["provisioningState"]
            raise ServiceError(409, "Conflict", f"The endpoint '{endpoint['name']}' is in state {state}.")
        checked = self._check(path, body, endpoint)
        return self._resources.put(
            path,
            checked,
            finish=lambda stored: self._start(stored, endpoint),
            polls=self._world.creation_polls,
        )

    def _check(self, path: str, body: dict[str, Any], endpoint: dict[str, Any]) -> dict[str, Any]:
        """Return the deployment as it is kept. Raises ServiceError 400."""
        properties, location = need(body, "properties", dict), endpoint["location"]
        need_one_of(body, "properties.endpointComputeType", ("Managed",))
        need_one_of(body, "sku.name", ("Default",))
        need_one_of(body, "properties.scaleSettings.scaleType", _SCALES, _SCALES[0])
        capacity = need(body, "sku.capacity", int)
        if capacity < 1:
            raise bad_argument(f"The instance count must be at least 1, not {capacity}.")
        size, before = (
            self._quota.size(location, need(body, "properties.instanceType", str)),
            self._resources.find(path),
        )
        if before and before["properties"]["instanceType"].lower() != size.name.lower():
            raise bad_argument("The instance type of a deployment cannot be changed. Make another deployment.")
        self._check_source(properties, "/".join(path.split("/")[:9]))
        _check_settings(properties)
        self._check_quota(path, size, capacity, location)
        fixed = {"location": location, "kind": "Managed", "tags": body.get("tags") or {}}
        kept = {"scaleSettings": {"scaleType": _SCALES[0]}, **properties}
        return {**fixed, "sku": {"name": "Default", "capacity": capacity}, "properties": kept}

    def _check_source(self, properties: dict[str, Any], workspace: str) -> None:
        """Raise ServiceError 400 for a model, code or environment that is missing or does not go together."""
        kind = self.model_type({"properties": properties})
        code, environment = properties.get("codeConfiguration") or {}, properties.get("environmentId")
        if code:
            self._assets.need_version(need(properties, "codeConfiguration.codeId", str))
            need(properties, "codeConfiguration.scoringScript", str)
        if environment:
            self._rules.check_environment(environment)
        own_container = bool(self.environment({"properties": properties}).get("inferenceConfig"))
        if code and not environment:
            raise bad_argument("An environment is required where a scoring script is given.")
        if not code and not own_container and kind != "mlflow_model":
            raise bad_argument("A scoring script and an environment are required for a model that is no MLflow model.")

    def _check_quota(self, path: str, size: VmSize, capacity: int, location: str) -> None:
        before = self._resources.find(path)
        held = _cores(size, before["sku"]["capacity"]) if before else 0
        needed, left = _cores(size, capacity) - held, self._quota.cores_left(location, size.family)
        if needed > left:
            limit = self._world.quota.get(size.family, 0)
            raise InferencingError(
                "VmSize",
                f"Not enough quota available for {size.name} in SubscriptionId {SUBSCRIPTION}. Current usage/limit: "
                f"{limit - left}/{limit}. Additional needed: {needed} {_HELP}error-outofquota",
            )

    def _start(self, stored: dict[str, Any], endpoint: dict[str, Any]) -> None:
        """Start the containers, which the endpoint's identity must be able to fetch, and which may crash."""
        workspace = self._resources.need("/".join(stored["id"].split("/")[:9]))
        for identity in (endpoint["identity"].get("userAssignedIdentities") or {}).values():
            self._check_role(identity["principalId"], workspace["properties"]["storageAccount"], *_BLOB_ROLES)
            registry = workspace["properties"].get("containerRegistry")
            if registry:
                self._check_role(identity["principalId"], registry, "AcrPull", "AcrPush", "Contributor", "Owner")
        if self._world.failing_deployments > 0:
            self._world.failing_deployments -= 1
            message = "User container has crashed or terminated: Liveness probe failed: HTTP probe failed with "
            raise ServiceError(400, "BadArgument", f"{message}statuscode: 502. {_HELP}error-resourcenotready")

    def _check_role(self, principal_id: str, resource_id: str, *roles: str) -> None:
        for role, scope in self._roles.of(principal_id):
            if role in roles and f"{resource_id.lower()}/".startswith(scope.lower().rstrip("/") + "/"):
                return
        raise ServiceError(
            400,
            "BadArgument",
            f"Authorization error: the endpoint's managed identity {principal_id} must have the role '{roles[0]}' on "
            f"'{resource_id}'. {_HELP}authorization-error",
        )

    def _delete(self, request: Request, deployment: str, **_: str) -> Reply:
        endpoint = self._need_endpoint(request, "delete")
        for name in ("traffic", "mirrorTraffic"):
            if (endpoint["properties"].get(name) or {}).get(deployment):
                message = f"The deployment '{deployment}' has {endpoint['properties'][name][deployment]}% {name} and "
                raise bad_argument(f"{message}cannot be deleted. Set its traffic to 0 first.")
        return self._resources.delete(request.path.rstrip("/"))

    def _logs(self, request: Request, deployment: str, **_: str) -> Reply:
        path = request.path.rstrip("/").rpartition("/")[0]
        self._need_endpoint(request, "read")
        properties = self._resources.need(path)["properties"]
        body = parse_json_object(request)
        container = need_one_of(body, "containerType", ("InferenceServer", "StorageInitializer"), "InferenceServer")
        lines = [f"{container} of {deployment}", f"state: {properties['provisioningState']}"]
        if properties["provisioningState"] == "Failed":
            lines.append("Liveness probe failed: HTTP probe failed with statuscode: 502")
        return Reply(200, {"content": "\n".join(lines[-int(body.get("tail") or 1000) :])})

    def _need_endpoint(self, request: Request, action: str) -> dict[str, Any]:
        need_workspace(self._resources, request.path, action=action)
        return self._resources.need(request.path.partition("/deployments")[0])


def _cores(size: VmSize, instances: int) -> int:
    """Return the cores that a deployment takes: most sizes hold back a fifth of the instances for upgrades."""
    return size.cores * (instances if _WITHOUT_RESERVE.fullmatch(size.name) else math.ceil(1.2 * instances))


def _check_settings(properties: dict[str, Any]) -> None:
    timeout = at(properties, "requestSettings.requestTimeout")
    if timeout and not 0 < _seconds(timeout) <= _LONGEST_REQUEST_S:
        raise bad_argument(f"The request timeout must be at most {_LONGEST_REQUEST_S} seconds, not {timeout}.")
    concurrent = at(properties, "requestSettings.maxConcurrentRequestsPerInstance")
    if concurrent is not None and concurrent < 1:
        raise bad_argument(f"maxConcurrentRequestsPerInstance must be at least 1, not {concurrent}.")
    for probe in ("livenessProbe", "readinessProbe"):
        values = properties.get(probe) or {}
        for name, least in _LEAST_S.items():
            if values.get(name) and _seconds(values[name]) < least:
                raise bad_argument(f"{probe}.{name} must be at least {least} seconds, not {values[name]}.")
        for name in ("failureThreshold", "successThreshold"):
            if values.get(name) is not None and values[name] < 1:
                raise bad_argument(f"{probe}.{name} must be at least 1, not {values[name]}.")


def _seconds(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise bad_argument(f"'{duration}' is no ISO 8601 duration.")
    days, hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
