"""Deployments of models on an account: what may be deployed, how much quota it takes, and what becomes of idle ones."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from tests.azure.emulator.bodies import at, check_members
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.openai.base_models import (
    BASE_MODELS,
    FINE_TUNED_ONLY,
    SKUS,
    BaseModel,
    limit_of,
    usage_name,
)
from tests.azure.emulator.openai.paths import ACCOUNT, TYPE, add_route, bad_properties, need_account
from tests.azure.emulator.openai.refusals import DataPlaneError
from tests.azure.emulator.openai.tuned_models import TunedModel, TunedModels
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router

DEPLOYMENT_TYPE = f"{TYPE}/deployments"
_MEMBERS = ("sku", "tags", "properties", "id", "name", "type", "etag", "systemData", "apiVersion")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}")
_MOST_FINE_TUNED = 10
_IN_PROGRESS = ("Accepted", "Creating", "Updating", "Deleting")
IDLE_HOURS = 15 * 24
DEVELOPER_HOURS = 24


class Deployable(NamedTuple):
    """What is deployed: a base model, and what fine-tuning made of it, if that is meant."""

    base: BaseModel
    tuned: TunedModel | None


class Deployments:
    """The deployments of all accounts; ``find`` is for who answers, ``check_unused`` for who would delete a model."""

    def __init__(self, arm: ResourceManager, models: TunedModels) -> None:
        self._world, self._resources, self._models = arm.world, arm.resources, models

    def add_routes(self, router: Router) -> None:
        """Register deployments."""
        path = f"{ACCOUNT}/deployments/{{deployment}}"
        add_route(router, "GET", f"{ACCOUNT}/deployments", self._list)
        add_route(router, "GET", path, self._get)
        add_route(router, "PUT", path, self._put)
        add_route(router, "PATCH", path, self._patch)
        add_route(router, "DELETE", path, self._delete)

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every deployment of every account."""
        return [resource for resource in self._resources if resource["type"].lower() == DEPLOYMENT_TYPE.lower()]

    def find(self, account_id: str, name: str) -> dict[str, Any] | None:
        """Return the deployment of that name that answers, None where there is none or it is not ready."""
        deployment = self._resources.find(f"{account_id}/deployments/{name}")
        if deployment is None or deployment["properties"]["provisioningState"] in ("Failed", "Accepted", "Creating"):
            return None
        return deployment

    def check_unused(self, model: TunedModel) -> None:
        """Raise DataPlaneError 409 where a model has a deployment. The text is a guess: no document has it."""
        for deployment in self.all:
            if at(deployment, "properties.model.name") in model.names:
                message = f"The model '{model.names[0]}' has the deployment '{deployment['name']}': delete that first."
                raise DataPlaneError(409, "conflict", message)

    def base_of(self, deployment: dict[str, Any]) -> BaseModel:
        """Return the base model that a deployment stands on."""
        return self._deployable(deployment["id"], deployment["properties"]["model"]).base

    def used(self, place: str) -> Counter[str]:
        """Return what the deployments of a region, or of the account of that id, take of each quota."""
        taken: Counter[str] = Counter()
        for deployment in self.all:
            account = need_account(self._resources, deployment["id"])
            if place.lower() in (account["location"].lower(), account["id"].lower()):
                taken[self._usage(deployment)] += deployment["sku"]["capacity"]
        return taken

    def remove_idle(self, idle_hours: float) -> list[str]:
        """Delete what the service deletes once nobody has asked it for so many hours; its models stay.

        A fine-tuned model's deployment goes after 15 days, one of the developer tier after 24 hours in any case.
        """
        removed = []
        for deployment in self.all:
            hours = DEVELOPER_HOURS if deployment["sku"]["name"] == FINE_TUNED_ONLY else IDLE_HOURS
            is_tuned = self._deployable(deployment["id"], deployment["properties"]["model"]).tuned is not None
            if is_tuned and idle_hours >= hours:
                self._resources.delete(deployment["id"], asynchronous=False)
                removed.append(deployment["name"])
        return removed

    def _usage(self, deployment: dict[str, Any]) -> str:
        base, tuned = self._deployable(deployment["id"], deployment["properties"]["model"])
        return usage_name(base, deployment["sku"]["name"], fine_tuned=tuned is not None)

    def _list(self, request: Request, **_: str) -> Reply:
        return self._resources.children(need_account(self._resources, request.path)["id"], "deployments")

    def _get(self, request: Request, **_: str) -> Reply:
        need_account(self._resources, request.path)
        return self._resources.get(request.path.rstrip("/"))

    def _put(self, request: Request, deployment: str, **_: str) -> Reply:
        account, body = need_account(self._resources, request.path), parse_json_object(request)
        check_members(body, _MEMBERS)
        if not _NAME.fullmatch(deployment):
            message = f"The deployment name '{deployment}' is invalid: it must match {_NAME.pattern}."
            raise ServiceError(400, "InvalidResourceName", message)
        if account["properties"]["provisioningState"] != "Succeeded":
            state = account["properties"]["provisioningState"]
            raise ServiceError(409, "AccountProvisioningStateInvalid", f"The account is in state {state}.")
        return self._write(request.path, body, account)

    def _patch(self, request: Request, **_: str) -> Reply:
        """Change tags and the sku, which is all that a PATCH may."""
        account, before = need_account(self._resources, request.path), self._resources.need(request.path)
        body = parse_json_object(request)
        changed = {"tags": body.get("tags", before["tags"]), "sku": {**before["sku"], **(body.get("sku") or {})}}
        return self._write(request.path, {**before, **changed}, account)

    def _write(self, path: str, body: dict[str, Any], account: dict[str, Any]) -> Reply:
        model, before = self._need_model(path, body), self._resources.find(path)
        sku = self._check_sku(body, model, account)
        self._check_quota(path, model, sku, account)
        self._check_alone(account)
        rules = {"raiPolicyName": "Microsoft.DefaultV2", "versionUpgradeOption": "OnceNewDefaultVersionAvailable"}
        capacity = sku["capacity"]
        properties = {
            **rules,
            **body["properties"],
            "capabilities": {"chatCompletion": "true", "area": "US"},
            "currentCapacity": capacity,
            "rateLimits": [
                {"key": "request", "renewalPeriod": 60, "count": capacity},
                {"key": "token", "renewalPeriod": 60, "count": capacity * 1000},
            ],
        }
        checked = {"sku": sku, "tags": body.get("tags") or (before or {}).get("tags") or {}, "properties": properties}
        reply = self._resources.put(path, checked, finish=self._finish)
        reply.body["properties"]["provisioningState"] = "Accepted"
        return reply

    def _need_model(self, path: str, body: dict[str, Any]) -> Deployable:
        """Return what a body would deploy. Raises ServiceError 400 where it cannot be, or can no longer."""
        wanted = at(body, "properties.model")
        if not isinstance(wanted, dict) or not wanted.get("name") or not wanted.get("format"):
            raise bad_properties("The 'model' of a deployment must have a format, a name and a version.")
        base, tuned = self._deployable(path, wanted)
        if tuned and tuned.harms:
            raise ServiceError(400, "BadRequest", tuned.refusal)
        retired = base.tuned_until if tuned else base.retired
        if retired and retired <= self._world.today and path not in self._resources:
            described = f"Format:{wanted['format']},Name:{wanted['name']},Version:{wanted.get('version', '')}"
            message = f"The model '{described}' has been deprecated since {retired:%m/%d/%Y}."
            raise ServiceError(400, "ServiceModelDeprecated", message)
        return Deployable(base, tuned)

    def _deployable(self, path: str, wanted: dict[str, Any]) -> Deployable:
        source = wanted.get("source") or "/".join(path.split("/")[:9])
        tuned = self._models.find(source, wanted["name"])
        version = wanted.get("version")
        if tuned and version in ("1", None) and wanted["format"] == tuned.base.format:
            return Deployable(tuned.base, tuned)
        for base in BASE_MODELS:
            if (base.name, base.format) == (wanted["name"], wanted["format"]) and version in (base.version, None):
                return Deployable(base, None)
        described = f"Format: {wanted['format']}, Name: {wanted['name']}, Version: {version or ''}"
        message = f"The model '{described}' of account deployment is not supported."
        raise ServiceError(400, "DeploymentModelNotSupported", message)

    def _check_sku(self, body: dict[str, Any], model: Deployable, account: dict[str, Any]) -> dict[str, Any]:
        name = at(body, "sku.name")
        named = next((sku for sku in SKUS if sku.lower() == str(name).lower()), None)
        if name is None:
            raise bad_properties("The sku of a deployment is required.")
        if named is None or (named == FINE_TUNED_ONLY and model.tuned is None):
            raise bad_properties(
                f"The specified SKU '{name}' for model '{model.base.name} {model.base.version}' is not supported in "
                f"this region '{account['location']}'."
            )
        capacity = body["sku"].get("capacity", 1)
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            raise bad_properties(f"The capacity of a deployment must be a whole number from 1, not {capacity!r}.")
        return {**body["sku"], "name": named, "capacity": capacity}

    def _check_quota(self, path: str, model: Deployable, sku: dict[str, Any], account: dict[str, Any]) -> None:
        usage = usage_name(model.base, sku["name"], fine_tuned=model.tuned is not None)
        before = self._resources.find(path)
        held = before["sku"]["capacity"] if before and self._usage(before) == usage else 0
        used, limit = self.used(account["location"])[usage], limit_of(self._world, usage)
        if sku["capacity"] - held > limit - used:
            quota = f"Tokens Per Minute (thousands) - {model.base.name}"
            raise ServiceError(
                400,
                "InsufficientQuota",
                f"This operation require {sku['capacity'] - held} new capacity in quota {quota}, which is bigger than "
                f"the current available capacity {limit - used}. The current quota usage is {used} and the quota limit "
                f"is {limit} for quota {quota}.",
            )
        others = [each for each in self.all if each["id"].lower() != path.lower()]
        of_account = [each for each in others if each["id"].lower().startswith(f"{account['id']}/".lower())]
        tuned = [each for each in of_account if self._usage(each).endswith("-finetune")]
        if model.tuned and len(tuned) >= _MOST_FINE_TUNED:
            message = f"The resource has {_MOST_FINE_TUNED} deployments of fine-tuned models, which is the most."
            raise ServiceError(400, "DeploymentLimitReached", message)  # a guess: no document has the text

    def _check_alone(self, account: dict[str, Any]) -> None:
        """Raise ServiceError 409 while another deployment of the account is written: one at a time may be."""
        for deployment in self._resources.children(account["id"], "deployments").body["value"]:
            if deployment["properties"]["provisioningState"] not in _IN_PROGRESS:
                continue
            self._resources.get(deployment["id"])  # whoever tries again has looked at it, which brings it nearer
            message = f"Another operation is being performed on the parent resource '{account['id']}'. Please try "
            raise ServiceError(409, "RequestConflict", f"{message}again later.")

    def _finish(self, stored: dict[str, Any]) -> None:
        if self._world.openai_failing_deployments > 0:
            self._world.openai_failing_deployments -= 1
            raise ServiceError(400, "InternalServerError", "The deployment could not be created. Please try again.")

    def _delete(self, request: Request, **_: str) -> Reply:
        account = need_account(self._resources, request.path)
        if request.path in self._resources:
            self._check_alone(account)
        return self._resources.delete(request.path.rstrip("/"))
