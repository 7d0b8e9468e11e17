"""A workspace's compute clusters (AmlCompute), which rest at their least number of nodes."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from tests.azure.emulator.bodies import at, bad_argument, check_members, check_texts, need, need_one_of
from tests.azure.emulator.managed_identities import check_identity, complete_identity
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.quota import Quota
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import TYPE, WORKSPACES, need_workspace

_MEMBERS = ("id", "name", "type", "systemData", "location", "identity", "sku", "tags", "properties")
_NAME = re.compile(r"[a-zA-Z](?![a-zA-Z0-9-]*-\d+$)[a-zA-Z0-9-]{2,23}")
"""The specification's pattern, from 2024-10-01 on."""
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?")
_PRIORITIES, _SYSTEMS = ("Dedicated", "LowPriority"), ("Linux", "Windows")


class Computes:
    """Clusters: one that the quota or the region refuses is left in state Failed, with ``provisioningErrors``.

    As the service does, it answers sizes in capitals and durations in their shortest form.
    """

    def __init__(self, arm: ResourceManager, providers: Providers, quota: Quota) -> None:
        self._identity, self._resources = arm.identity, arm.resources
        self._providers, self._quota = providers, quota
        quota.usage_sources.append(lambda location: self._cores(location, "Dedicated"))
        quota.low_priority_sources.append(lambda location: self._cores(location, "LowPriority"))
        self._world, self._looks_left = arm.world, 0
        quota.release_nodes = self._release
        quota.count_clusters = lambda location: len(self._clusters(location))

    def add_routes(self, router: Router) -> None:
        """Register clusters."""
        base = f"{WORKSPACES}/{{workspace}}/computes"
        router.add("GET", base, self._list)
        router.add("GET", f"{base}/{{name}}", self._get)
        router.add("PUT", f"{base}/{{name}}", self._put)
        router.add("PATCH", f"{base}/{{name}}", self._patch)
        router.add("DELETE", f"{base}/{{name}}", self._delete)

    def _clusters(self, location: str) -> list[dict[str, Any]]:
        rows = [resource for resource in self._resources if resource["type"] == f"{TYPE}/computes"]
        return [resource["properties"]["properties"] for resource in rows if resource["location"] == location]

    def _cores(self, location: str, priority: str) -> Counter[str]:
        """Return the cores of running nodes in a region, by family."""
        used: Counter[str] = Counter()
        for cluster in self._clusters(location):
            if cluster["vmPriority"] == priority and cluster.get("currentNodeCount"):
                size = self._quota.size(location, cluster["vmSize"])
                used[size.family] += size.cores * cluster["currentNodeCount"]
        return used

    def hold_node(self, workspace: str, cluster: str) -> None:
        """Leave a node of a cluster idle, as after a job, until the quota was looked at ``idle_looks`` times."""
        resource = self._resources.find(f"{workspace}/computes/{cluster}")
        if resource is not None and self._world.idle_looks:
            settings = resource["properties"]["properties"]
            settings["currentNodeCount"] = settings["nodeStateCounts"]["idleNodeCount"] = 1
            self._looks_left = self._world.idle_looks

    def _release(self, location: str) -> None:
        """Count a look at the quota, and let idle nodes go after the last."""
        if not self._looks_left:
            return
        self._looks_left -= 1
        for settings in self._clusters(location) if not self._looks_left else ():
            settings["currentNodeCount"] = settings["scaleSettings"]["minNodeCount"]
            settings["nodeStateCounts"]["idleNodeCount"] = settings["currentNodeCount"]

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")
        return self._resources.children(workspace["id"], "computes")

    def _get(self, request: Request, **_: str) -> Reply:
        need_workspace(self._resources, request.path, action="read")
        return self._resources.get(request.path.rstrip("/"))

    def _put(self, request: Request, name: str, **_: str) -> Reply:
        body, path = parse_json_object(request), request.path.rstrip("/")
        workspace = need_workspace(self._resources, path, action="write")
        if not _NAME.fullmatch(name):
            raise bad_argument(
                f"The compute name '{name}' is invalid. It must be between 3 and 24 characters in length and must use "
                "only numbers, letters and minus symbol (-), must start with letters. Numbers cannot be the ending of "
                "the name if the previous character is a minus symbol (-)."
            )
        check_members(body, _MEMBERS)
        self._providers.check_registered("Microsoft.Compute")
        before = self._resources.find(path)
        checked = self._check({"location": (before or workspace)["location"], **body}, before)
        if before and before["properties"]["provisioningState"] != "Failed":
            _check_unchanged(before, checked)
        return self._resources.put(path, checked, finish=self._allocate)

    def _patch(self, request: Request, **_: str) -> Reply:
        body, path = parse_json_object(request), request.path.rstrip("/")
        need_workspace(self._resources, path, action="write")
        before = self._resources.need(path)
        scale = need(body, "properties.properties.scaleSettings", dict)
        if body.keys() - {"properties"} or body["properties"]["properties"].keys() - {"scaleSettings"}:
            raise bad_argument("Only 'scaleSettings' of a compute can be updated.")
        cluster = before["properties"]["properties"]
        scale = {**cluster["scaleSettings"], **scale}
        properties = {**before["properties"], "properties": {**cluster, "scaleSettings": scale}}
        checked = self._check({**before, "properties": properties}, before)
        return self._resources.put(path, checked, finish=self._allocate)

    def _delete(self, request: Request, **_: str) -> Reply:
        path = request.path.rstrip("/")
        need_workspace(self._resources, path, action="delete")
        need_one_of(request.query, "underlyingResourceAction", ("Delete", "Detach"))
        self._providers.check_unlocked(path)
        return self._resources.delete(path)

    def _check(self, body: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        """Return the cluster as it is kept. Raises ServiceError 400."""
        location = need(body, "location", str)
        self._providers.check_location(location)
        check_texts(body, "tags")
        if need(body, "properties.computeType", str) != "AmlCompute":
            raise bad_argument(f"The compute type '{body['properties']['computeType']}' is not supported.")
        need(body, "properties.properties", dict)
        settings = body["properties"]["properties"]
        cluster = {
            "vmSize": need(settings, "vmSize", str).upper(),
            "vmPriority": need_one_of(settings, "vmPriority", _PRIORITIES, "Dedicated"),
            "osType": need_one_of(settings, "osType", _SYSTEMS, "Linux"),
            "scaleSettings": _check_scale(need(settings, "scaleSettings", dict)),
            "remoteLoginPortPublicAccess": settings.get("remoteLoginPortPublicAccess", "NotSpecified"),
            "enableNodePublicIp": settings.get("enableNodePublicIp", True),
            "isolatedNetwork": settings.get("isolatedNetwork", False),
            "subnet": settings.get("subnet"),
            "virtualMachineImage": None,
            "userAccountCredentials": None,
        }
        checked = {"location": location, "tags": body.get("tags") or {}}
        if body.get("identity"):
            checked["identity"] = check_identity(body["identity"], (before or {}).get("identity"), self._resources)
        now = datetime.now(UTC).isoformat()
        return checked | {
            "properties": {
                "computeType": "AmlCompute",
                "computeLocation": location,
                "description": body["properties"].get("description"),
                "disableLocalAuth": body["properties"].get("disableLocalAuth", False),
                "resourceId": None,
                "isAttachedCompute": False,
                "provisioningErrors": None,
                "createdOn": (before or {}).get("properties", {}).get("createdOn", now),
                "modifiedOn": now,
                "properties": cluster,
            },
        }

    def _allocate(self, stored: dict[str, Any]) -> None:
        """Rest at the least number of nodes, if region and quota allow for the most."""
        properties, cluster = stored["properties"], stored["properties"]["properties"]
        low_priority, scale = cluster["vmPriority"] == "LowPriority", cluster["scaleSettings"]
        try:
            size = self._quota.size(stored["location"], cluster["vmSize"])
            self._quota.check_nodes(stored["location"], size, nodes=scale["maxNodeCount"], low_priority=low_priority)
        except ServiceError as error:
            properties["provisioningErrors"] = [{"error": {"code": error.code, "message": error.message}}]
            raise
        if "identity" in stored:
            complete_identity(stored["identity"], self._identity)
        nodes = scale["minNodeCount"]
        states = ("preparing", "running", "unusable", "leaving", "preempted")
        cluster |= {
            "allocationState": "Steady",
            "allocationStateTransitionTime": properties["modifiedOn"],
            "errors": None,
            "currentNodeCount": nodes,
            "targetNodeCount": nodes,
            "nodeStateCounts": {"idleNodeCount": nodes, **{f"{state}NodeCount": 0 for state in states}},
        }


def _check_scale(scale: dict[str, Any]) -> dict[str, Any]:
    least, most = scale.get("minNodeCount", 0), need(scale, "maxNodeCount", int)
    if not isinstance(least, int) or not 0 <= least <= most or most < 1:
        raise bad_argument(f"The node counts must be 0 <= minNodeCount <= maxNodeCount, not {least!r} and {most}.")
    idle = scale.get("nodeIdleTimeBeforeScaleDown", "PT120S")
    return {"minNodeCount": least, "maxNodeCount": most, "nodeIdleTimeBeforeScaleDown": _shortest(idle)}


def _shortest(duration: Any) -> str:
    """Return an ISO 8601 duration as .NET writes it: PT2M for PT120S. Raises ServiceError 400."""
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if match is None or not any(match.groups()):
        raise bad_argument(f"'nodeIdleTimeBeforeScaleDown' must be an ISO 8601 duration, not {duration!r}.")
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    days, of_day = divmod(total, 86400)
    units = {"H": of_day // 3600, "M": of_day % 3600 // 60, "S": of_day % 60}
    time = "".join(f"{value}{unit}" for unit, value in units.items() if value)
    return f"P{f'{days}D' if days else ''}{f'T{time}' if time else ''}" if total else "PT0S"


def _check_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for path in ("location", "properties.properties.vmSize", "properties.properties.vmPriority"):
        was = at(before, path)
        if was != at(after, path):
            raise ServiceError(
                409,
                "Conflict",
                f"The compute '{before['name']}' exists with '{path}' {was}, which cannot be changed. Delete it first, "
                "or choose another name.",
            )
