"""What the resource manager lists of models and of quota, of a region and of an account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.azure.emulator.assets import paged
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.base_models import (
    BASE_MODELS,
    SKUS,
    BaseModel,
    describe,
    describe_sku,
    limit_of,
    usage_name,
)
from tests.azure.emulator.openai.paths import ACCOUNT, LOCATION, PROVIDER, add_route, need_account
from tests.azure.emulator.openai.tuned_models import TunedModel, TunedModels
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router

_PAGE = 5
_MOST_ACCOUNTS = 30


class ModelLists:
    """Models and usages; ``used`` tells how much of each quota is taken in a region, or by one account."""

    def __init__(
        self,
        arm: ResourceManager,
        providers: Providers,
        models: TunedModels,
        used: Callable[[str], Counter[str]],
    ) -> None:
        self._world, self._resources, self._providers = arm.world, arm.resources, providers
        self._models, self._used = models, used

    def add_routes(self, router: Router) -> None:
        """Register the lists."""
        add_route(router, "GET", f"{ACCOUNT}/models", self._account_models)
        add_route(router, "GET", f"{ACCOUNT}/usages", self._account_usages)
        add_route(router, "GET", f"{LOCATION}/models", self._region_models)
        add_route(router, "GET", f"{LOCATION}/usages", self._region_usages)

    def _account_models(self, request: Request, **_: str) -> Reply:
        account = need_account(self._resources, request.path)
        place = account["location"]
        rows = [describe(model, self._world, place) for model in BASE_MODELS if account["kind"] in model.kinds]
        return paged(request, rows + [self._tuned(model) for model in self._models.of(account["id"])], _PAGE)

    def _tuned(self, model: TunedModel) -> dict[str, Any]:
        base = model.base
        return {
            **describe(base, self._world, self._resources.need(model.account_id)["location"]),
            "name": model.names[0],
            "version": "1",
            "source": model.account_id,
            "baseModel": {"format": base.format, "name": base.name, "version": base.version},
            "skus": [describe_sku(base, sku, fine_tuned=True) for sku in SKUS],
            "finetuneCapabilities": {},
        }

    def _region_models(self, request: Request, location: str, **_: str) -> Reply:
        self._providers.check_registered(PROVIDER)
        self._providers.check_location(location)
        rows = [
            {"kind": kind, "skuName": "S0", "model": describe(model, self._world, location)}
            for model in BASE_MODELS
            for kind in model.kinds
        ]
        return paged(request, rows, _PAGE)

    def _region_usages(self, request: Request, location: str, **_: str) -> Reply:
        self._providers.check_registered(PROVIDER)
        self._providers.check_location(location)
        accounts = [
            resource
            for resource in self._resources
            if resource["type"].endswith("/accounts") and resource["location"] == location
        ]
        name = {"value": "OpenAI.S0.AccountCount", "localizedValue": "OpenAI.S0.AccountCount"}
        row = {"name": name, "currentValue": len(accounts), "limit": _MOST_ACCOUNTS, "unit": "Count"}
        return Reply(200, {"value": [row, *self._usages(self._used(location))]})

    def _account_usages(self, request: Request, **_: str) -> Reply:
        account = need_account(self._resources, request.path)
        return Reply(200, {"value": self._usages(self._used(account["id"]))})

    def _usages(self, used: Counter[str]) -> list[dict[str, Any]]:
        rows = []
        for model in BASE_MODELS:
            for fine_tuned in (False, True) if model.methods else (False,):
                rows += [self._usage(model, sku, used, fine_tuned=fine_tuned) for sku in SKUS]
        return rows

    def _usage(self, model: BaseModel, sku: str, used: Counter[str], *, fine_tuned: bool) -> dict[str, Any]:
        usage = usage_name(model, sku, fine_tuned=fine_tuned)
        return {
            "name": {"value": usage, "localizedValue": f"Tokens Per Minute (thousands) - {model.name} - {sku}"},
            "currentValue": used[usage],
            "limit": limit_of(self._world, usage),
            "unit": "Count",
        }
