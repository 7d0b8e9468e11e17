"""Microsoft.Quota over Azure Machine Learning: single limits, usages, and requests for more cores."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.bodies import need
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.operations import Operation
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.quota import LOCATION, Limit, Quota
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router

PROVIDER = "Microsoft.Quota"
_FAILED = "Request failed, please contact support."


class QuotaRequests:
    """Requests that are granted or, where ``world.grants_quota`` is not so, end with ContactSupport."""

    def __init__(self, arm: ResourceManager, providers: Providers, quota: Quota) -> None:
        self._world, self._operations = arm.world, arm.operations
        self._providers, self._quota = providers, quota
        self._requests: dict[str, tuple[Operation, dict[str, Any]]] = {}

    def add_routes(self, router: Router) -> None:
        """Register quotas, usages and requests at the scope of a region's Azure ML."""
        base = f"{LOCATION}/providers/{PROVIDER}"
        router.add("GET", f"{base}/quotas", self._list)
        router.add("GET", f"{base}/quotas/{{name}}", self._get)
        router.add("PUT", f"{base}/quotas/{{name}}", self._put)
        router.add("PATCH", f"{base}/quotas/{{name}}", self._put)
        router.add("GET", f"{base}/usages/{{name}}", self._get_usage)
        router.add("GET", f"{base}/quotaRequests", self._list_requests)
        router.add("GET", f"{base}/quotaRequests/{{number}}", self._get_request)

    def _limits(self, location: str) -> dict[str, Limit]:
        """Return the limits by name: a family's is that of its dedicated cores."""
        self._providers.check_registered(PROVIDER)
        limits = self._quota.limits(location)
        return {limit.name: limit for limit in limits if limit.kind != "vmFamily/lowPriorityCores"}

    def _find(self, location: str, name: str) -> Limit:
        limit = self._limits(location).get(name)
        if limit is None:
            raise ServiceError(400, "InvalidResourceName", f"The resource name '{name}' is not valid.")
        return limit

    def _list(self, request: Request, location: str, **_: str) -> Reply:
        return Reply(200, {"value": [_described(request.path, limit) for limit in self._limits(location).values()]})

    def _get(self, request: Request, location: str, name: str, **_: str) -> Reply:
        return Reply(200, _described(request.path.rpartition("/")[0], self._find(location, name)))

    def _get_usage(self, request: Request, location: str, name: str, **_: str) -> Reply:
        limit = self._find(location, name)
        properties = {"usages": {"usagesType": "Individual", "value": limit.used}, **_common(limit)}
        return Reply(200, {"id": request.path, "type": f"{PROVIDER}/Usages", "name": name, "properties": properties})

    def _put(self, request: Request, location: str, name: str, **_: str) -> Reply:
        limit, body = self._find(location, name), parse_json_object(request)
        cores = need(body, "properties.limit.value", int)
        if need(body, "properties.limit.limitObjectType", str) != "LimitValue":
            raise ServiceError(400, "InvalidLimitObject", "The limit object must be a LimitValue.")
        if need(body, "properties.name.value", str) != name:
            raise ServiceError(400, "InvalidResourceName", "The name in the body is not that of the request.")
        self._check_open(limit, cores)
        answer = {**_described(request.path.rpartition("/")[0], limit), "properties": body["properties"]}

        def decide() -> None:
            if not self._world.grants_quota:
                raise ServiceError(400, "ContactSupport", _FAILED)
            self._quota.raise_limit(name, cores)

        operation, headers = self._operations.start(
            provider=PROVIDER, location=location, finish=decide, result=lambda: answer
        )
        self._requests[operation.id] = operation, {"name": {"value": name}, "limit": body["properties"]["limit"]}
        return Reply(202, None, headers)

    def _check_open(self, limit: Limit, cores: int) -> None:
        """Raise ServiceError 400 for what nobody can ask for."""
        if limit.name in ("TotalDedicatedCores", "TotalClusters"):
            raise ServiceError(400, "InvalidResourceName", f"The resource name '{limit.name}' is not valid.")
        if self._world.quota_id.startswith("FreeTrial_"):
            message = f"Quota for '{limit.name}' is not available for this subscription."
            raise ServiceError(400, "QuotaNotAvailableForResource", message)
        if cores <= limit.limit:
            message = f"The requested limit {cores} is not more than the current limit {limit.limit}."
            raise ServiceError(400, "QuotaReductionNotSupported", message)

    def _list_requests(self, request: Request, **_: str) -> Reply:
        return Reply(200, {"value": [self._describe(request.path, number) for number in self._requests]})

    def _get_request(self, request: Request, number: str, **_: str) -> Reply:
        if number not in self._requests:
            raise ServiceError(404, "QuotaRequestNotFound", f"There is no quota request '{number}'.")
        self._requests[number][0].poll()
        return Reply(200, self._describe(request.path.rpartition("/")[0], number))

    def _describe(self, base: str, number: str) -> dict[str, Any]:
        operation, limit = self._requests[number]
        error = {"error": operation.error} if operation.error else {}
        message = _FAILED if operation.error else f"Request is {operation.status}."
        state = {"provisioningState": operation.status, "message": message, **error}
        properties = {**state, "value": [{**limit, **state, "subRequestId": number}]}
        return {"id": f"{base}/{number}", "type": f"{PROVIDER}/quotaRequests", "name": number, "properties": properties}


def _described(base: str, limit: Limit) -> dict[str, Any]:
    value = {"limitObjectType": "LimitValue", "limitType": "Independent", "value": limit.limit}
    return {
        "id": f"{base}/{limit.name}",
        "type": f"{PROVIDER}/Quotas",
        "name": limit.name,
        "properties": {"limit": value, **_common(limit)},
    }


def _common(limit: Limit) -> dict[str, Any]:
    kind = {"resourceType": "lowPriority" if "LowPriority" in limit.name else "dedicated"}
    name = {"value": limit.name, "localizedValue": limit.label}
    return {"unit": "Count", "name": name, **kind, "isQuotaApplicable": True, "properties": {}}
