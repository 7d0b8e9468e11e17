"""Subscriptions to other publishers' models in Azure Marketplace, which their serverless endpoints stand on."""

from __future__ import annotations

import re
from typing import Any

from tests.azure.emulator.api_versions import SERVERLESS_SINCE, check_since
from tests.azure.emulator.assets import WORKSPACE, paged
from tests.azure.emulator.bodies import bad_argument, check_members, need
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.serverless_models import ServerlessModel, ServerlessModels
from tests.azure.emulator.workspace_paths import PROVIDER, need_workspace

_BASE = f"{WORKSPACE}/marketplaceSubscriptions"
_TYPE = f"{PROVIDER}/workspaces/marketplaceSubscriptions"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")
_SHOWN_ONLY = ("marketplacePlan", "marketplaceSubscriptionStatus", "provisioningState")


class MarketplaceSubscriptions:
    """A workspace's subscriptions; the words of the refusals are a guess."""

    def __init__(self, arm: ResourceManager, models: ServerlessModels) -> None:
        self._resources, self._models = arm.resources, models

    def add_routes(self, router: Router) -> None:
        """Register subscriptions, to be listed, put, looked at and deleted."""
        router.add("GET", _BASE, self._list)
        router.add("GET", f"{_BASE}/{{name}}", self._get)
        router.add("PUT", f"{_BASE}/{{name}}", self._put)
        router.add("DELETE", f"{_BASE}/{{name}}", self._delete)

    def needed(self, workspace: str, model: ServerlessModel) -> str | None:
        """Return the id of the subscription that a model needs, None where it needs none. Raises ServiceError 400."""
        if not model.is_marketplace:
            return None
        for subscription in self._of(workspace, model.base_id):
            if subscription["properties"]["marketplaceSubscriptionStatus"] == "Subscribed":
                return str(subscription["id"])
        message = f"The model '{model.base_id}' is offered through Azure Marketplace: subscribe the workspace to it by"
        raise bad_argument(f"{message} a marketplaceSubscription first.")

    def _of(self, workspace: str, model_id: str) -> list[dict[str, Any]]:
        return [
            resource
            for resource in self._resources
            if resource["type"] == _TYPE
            and resource["id"].lower().startswith(f"{workspace}/".lower())
            and resource["properties"]["modelId"] == model_id
        ]

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = self._need_workspace(request, "read")
        return paged(request, self._resources.children(workspace["id"], "marketplaceSubscriptions").body["value"])

    def _get(self, request: Request, **_: str) -> Reply:
        self._need_workspace(request, "read")
        return self._resources.get(request.path.rstrip("/"))

    def _put(self, request: Request, name: str, **_: str) -> Reply:
        workspace, body = self._need_workspace(request, "write"), parse_json_object(request)
        if not _NAME.fullmatch(name):
            raise bad_argument(f"The subscription name '{name}' is not valid: it must match {_NAME.pattern}.")
        check_members(body, ("id", "name", "type", "systemData", "properties"))
        properties = need(body, "properties", dict)
        check_members(properties, ("modelId", *_SHOWN_ONLY))
        model = self._models.find_registered(need(body, "properties.modelId", str))
        if not model.is_marketplace:
            raise bad_argument(
                f"The model '{model.base_id}' is not offered through Azure Marketplace and needs no subscription."
            )
        before = self._resources.find(request.path)
        if before and before["properties"]["modelId"] != model.base_id:
            raise bad_argument("The model of a marketplace subscription cannot be changed.")
        if not before and self._of(workspace["id"], model.base_id):
            raise ServiceError(409, "Conflict", f"The workspace is subscribed to '{model.base_id}' already.")
        plan = {"publisherId": model.publisher, "offerId": model.name.lower(), "planId": f"{model.name.lower()}-plan"}
        kept = {"modelId": model.base_id, "marketplacePlan": plan}
        status = (before or {}).get("properties", {}).get("marketplaceSubscriptionStatus", "PendingFulfillmentStart")
        return self._resources.put(
            request.path, {"properties": {**kept, "marketplaceSubscriptionStatus": status}}, finish=_subscribe
        )

    def _delete(self, request: Request, **_: str) -> Reply:
        self._need_workspace(request, "delete")
        path = request.path.rstrip("/")

        def suspend() -> None:
            for resource in self._resources:
                properties = resource.get("properties", {})
                if str(properties.get("marketplaceSubscriptionId")).lower() == path.lower():
                    properties["endpointState"] = "Suspended"

        return self._resources.delete(path, finish=suspend)

    def _need_workspace(self, request: Request, action: str) -> dict[str, Any]:
        check_since(request, SERVERLESS_SINCE)
        return need_workspace(self._resources, request.path, action=action)


def _subscribe(stored: dict[str, Any]) -> None:
    stored["properties"]["marketplaceSubscriptionStatus"] = "Subscribed"
