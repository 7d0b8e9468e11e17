"""Models as the data plane lists them: the base models, and those that fine-tuning left, which can be deleted."""

from __future__ import annotations

import calendar
from datetime import date
from typing import Any

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.base_models import BASE_MODELS, BaseModel, find_base
from tests.azure.emulator.openai.deployments import Deployments
from tests.azure.emulator.openai.entrance import Entrance
from tests.azure.emulator.openai.refusals import DataPlaneError, not_found
from tests.azure.emulator.openai.tuned_models import TunedModel, TunedModels
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import World

_SINCE = 1744588800


class ModelRoutes:
    """The models that an account can train and deploy."""

    def __init__(self, world: World, entrance: Entrance, models: TunedModels, deployments: Deployments) -> None:
        self._world, self._entrance, self._models, self._deployments = world, entrance, models, deployments

    def add_routes(self, router: Router) -> None:
        """Register models."""
        self._entrance.add(router, "GET", "/models", self._list, action="models/read")
        self._entrance.add(router, "GET", "/models/{model}", self._get, action="models/read")
        self._entrance.add_v1(router, "DELETE", "/models/{model}", self._delete, action="models/delete")

    def _list(self, request: Request, account: dict[str, Any]) -> Reply:
        rows = [self._base(model) for model in BASE_MODELS if account["kind"] in model.kinds]
        rows += [self._tuned(model) for model in self._models.of(account["id"])]
        return Reply(200, {"object": "list", "data": rows})

    def _get(self, request: Request, account: dict[str, Any], model: str) -> Reply:
        tuned, base = self._models.find(account["id"], model), find_base(model)
        if tuned:
            return Reply(200, self._tuned(tuned))
        if base is None or account["kind"] not in base.kinds:
            raise not_found(f"The model '{model}' does not exist.")
        return Reply(200, self._base(base))

    def _delete(self, request: Request, account: dict[str, Any], model: str) -> Reply:
        tuned = self._models.find(account["id"], model)
        if tuned is None:
            if find_base(model):
                raise DataPlaneError(403, "forbidden", f"The base model '{model}' cannot be deleted.")
            raise not_found(f"The model '{model}' does not exist.")
        self._deployments.check_unused(tuned)
        self._models.remove(tuned)
        return Reply(200, {"id": model, "object": "model", "deleted": True})

    def _base(self, model: BaseModel) -> dict[str, Any]:
        return {
            "object": "model",
            "id": model.id,
            "status": "succeeded",
            "created_at": _SINCE,
            "lifecycle_status": "generally-available",
            "capabilities": _capabilities(fine_tune=model.is_trained(self._world)),
            "deprecation": _deprecation(model.trained_until, model.retired),
        }

    def _tuned(self, model: TunedModel) -> dict[str, Any]:
        return {
            **self._base(model.base),
            "id": model.names[0],
            "created_at": model.created_at,
            "model": model.base.id,
            "fine_tune": model.job_id,
            "capabilities": _capabilities(fine_tune=model.base.is_trained(self._world)),
            "deprecation": _deprecation(model.base.trained_until, model.base.tuned_until),
        }


def _capabilities(*, fine_tune: bool) -> dict[str, bool]:
    rest = {"inference": True, "completion": False, "chat_completion": True, "embeddings": False}
    return {"fine_tune": fine_tune, **rest}


def _deprecation(fine_tune: date | None, inference: date | None) -> dict[str, int]:
    days = {"fine_tune": fine_tune, "inference": inference or date(2099, 1, 1)}
    return {name: calendar.timegm(day.timetuple()) for name, day in days.items() if day}
