"""A model as a deployment of an Azure OpenAI resource: made, asked a question, and taken back if it does not answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from phi3flow.azure.openai.account import ACCOUNTS, OPENAI_VERSION, Account, has_succeeded, model_of
from phi3flow.azure.openai.place import OpenAIPlace
from phi3flow.azure.openai.refusals import explain
from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.openai_checks import check_deployment
from phi3flow.azure.tags import is_tagged
from phi3flow.backends.azure_openai import BACKEND
from phi3flow.backends.backend import DeploymentRequest, PlannedDeployment
from phi3flow.backends.coming_up import EndpointDeployer, ask_chat, give_up, reason_of
from phi3flow.errors import AzureError, ConfigError

SKUS = (
    "DeveloperTier",
    "Standard",
    "GlobalStandard",
    "DataZoneStandard",
    "ProvisionedManaged",
    "GlobalProvisionedManaged",
)
DEVELOPER = "DeveloperTier"
DEVELOPER_LIFE = timedelta(hours=24)
IDLE_DAYS = 15
DEFAULT_CAPACITY = 50
"""Thousands of tokens a minute; learn.microsoft.com's own sample for an evaluation (2026-03)."""
_TUNED = ".ft-"
_CHECKPOINT = ":ckpt-"
ONLY_VERSION = "1"
"""Of a fine-tuned model: each job makes one of a name of its own."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}")
_LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class PlannedOpenAIDeployment(PlannedDeployment):
    """The deployment of a model as Azure Resource Manager takes it; ``capacity`` in thousands of tokens a minute."""

    model_body: Mapping[str, str]
    sku: str
    capacity: int


def plan_deployment(place: OpenAIPlace, request: DeploymentRequest, *, latest: str | None) -> PlannedOpenAIDeployment:
    """Say what a deployment would be: of the ``latest`` model unless the request names one.

    Raises ConfigError for a model that the resource does not have, PreflightError where the caller may not deploy.
    """
    reference = request.model or latest
    if reference is None:
        raise ConfigError(
            f"no model was fine-tuned from here: deploy MODEL, or `phi3flow fine-tune --backend {BACKEND}`"
        )
    account = place.account
    model = _find_model(account, reference, _source(place, request.source))
    is_tuned = _TUNED in model["name"]
    sku = _sku(request.sku, is_tuned=is_tuned)
    name = request.name or deployment_name(model["name"])
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: a deployment has 2 to 64 letters, digits, '-', '_' and '.'")
    existing = account.deployment(name)
    exists = existing is not None and has_succeeded(existing)
    if existing is not None:
        _check_existing(existing, model["name"], wanted_sku=sku if request.sku else None)
    findings = [] if exists else refuse([*check_deployment(account)])
    capacity = request.capacity or (int(existing["sku"]["capacity"]) if existing and exists else DEFAULT_CAPACITY)
    return PlannedOpenAIDeployment(
        model=model["name"],
        cost=None if exists else lambda: _cost(sku, is_tuned=is_tuned),
        warnings=tuple(map(str, findings)),
        endpoint=name,
        deployment=name,
        exists=bool(exists and existing and int(existing["sku"]["capacity"]) == capacity),
        model_body=model,
        sku=sku,
        capacity=capacity,
    )


def _check_existing(existing: Mapping[str, Any], model: str, *, wanted_sku: str | None) -> None:
    """Raise ConfigError for a deployment of the name that is not the one to be made; one that failed makes way."""
    name, sku = existing["name"], str((existing.get("sku") or {}).get("name"))
    if not is_tagged(existing):
        raise ConfigError(f"phi3flow did not make the deployment {name}: give another --name")
    if not has_succeeded(existing):
        return
    way_out = f"give another --name, or phi3flow undeploy {name} --backend {BACKEND} first"
    if model_of(existing).lower() != model.lower():
        raise ConfigError(f"the deployment {name} serves {model_of(existing)}: {way_out}")
    if wanted_sku and sku.lower() != wanted_sku.lower():
        raise ConfigError(f"the deployment {name} is {sku}: {way_out}")


def deployment_name(model: str) -> str:
    """Name a deployment after its model: the base, what was asked for as suffix, and a hash of all of it."""
    base, _, tail = model.partition(_TUNED)
    suffix = tail.partition("-")[2]
    slug = re.sub(r"[^a-z0-9]+", "-", f"{base}-{suffix}".lower()).strip("-")
    digest = hashlib.sha256(model.lower().encode()).hexdigest()[:5]
    return f"{slug[: _LONGEST_NAME - 6].rstrip('-')}-{digest}"


class OpenAIDeployer(EndpointDeployer):
    """Makes one deployment in the project's resource."""

    def __init__(self, place: OpenAIPlace, planned: PlannedOpenAIDeployment, on_note: Callable[[str], None]) -> None:
        self._place, self._account, self._planned = place, place.account, planned
        self._name = planned.deployment
        end = f"It is hosted until it is deleted: phi3flow undeploy {self._name} --backend {BACKEND}"
        super().__init__(f"deployment {self._name} of the resource {self._account.name}", end, on_note)

    def _look(self) -> Mapping[str, Any] | None:
        return self._account.deployment(self._name)

    def _has_failed(self, existing: Mapping[str, Any]) -> bool:
        return not has_succeeded(existing)

    def _keep(self, existing: Mapping[str, Any]) -> str:
        """Leave a deployment as it is but for its capacity, where another is asked for."""
        if int(existing["sku"]["capacity"]) != self._planned.capacity:
            self._on_note(f"{self._what}: from capacity {existing['sku']['capacity']} to {self._planned.capacity} …")
            self._account.scale(self._name, sku=str(existing["sku"]["name"]), capacity=self._planned.capacity)
        return self._url

    def _make(self) -> str:
        planned = self._planned
        self._on_note(
            f"{self._what}: creating it for {planned.model}, {planned.sku}; this usually takes some minutes …"
        )
        self._account.deploy(
            self._name,
            model=planned.model_body,
            sku=planned.sku,
            capacity=planned.capacity,
            tags={"model": planned.model},
            on_wait=self._wait,
        )
        return self._url

    def _problem(self, url: str) -> str | None:
        return ask_chat(url, self._place.bearer().get_secret_value(), self._name, most_tokens=None)

    def _delete(self) -> None:
        self._account.delete_deployment(self._name, on_wait=give_up)

    def _explain(self, error: Exception) -> str:
        if isinstance(error, AzureError) and error.code:
            return explain(error.status, error.code, reason_of(error))
        return reason_of(error)

    @property
    def _url(self) -> str:
        return self._place.service.address.base_url


def hosting(sku: str, model: str, created_at: datetime) -> str:
    """Say how long a deployment has been hosted, what that costs, and when Azure removes it by itself."""
    now = datetime.now(UTC)
    hours = (now - created_at).total_seconds() / 3600
    hosted = f"hosted for {hours:.1f} h"
    if sku == DEVELOPER:
        ends = created_at + DEVELOPER_LIFE
        return f"{hosted} at no hourly fee; Azure removes it at {ends:%Y-%m-%d %H:%M} UTC, 24 hours after it was made"
    if _TUNED in model:
        return f"{hosted}, billed by the hour whether it is asked or not; Azure removes it after {IDLE_DAYS} idle days"
    return f"{hosted}, billed by the token"


def _find_model(account: Account, reference: str, source: Account | None) -> dict[str, str]:
    """Return a model as a deployment takes it: by its name, NAME:VERSION, or as jobs call a base model.

    Raises ConfigError for one that the account, or the ``source``, does not have.
    """
    if source and source.id.lower() != account.id.lower():
        return {**_find_model(source, reference, None), "source": source.id}
    models = account.models()
    plain = reference.lower()
    for row in models:
        name, version = str(row["name"]), str(row.get("version", ""))
        if plain in (f"{name}:{version}".lower(), f"{name}-{version}".lower()):
            return {"format": str(row["format"]), "name": name, "version": version}
    named = [row for row in models if str(row["name"]).lower() == plain]
    if named:
        row = max(named, key=lambda row: bool(row.get("isDefaultVersion")))
        return {"format": str(row["format"]), "name": str(row["name"]), "version": str(row.get("version", ""))}
    whole = [row for row in models if str(row["name"]).lower() == whole_model(plain)]
    if whole:  # a checkpoint, which no list names
        return {"format": str(whole[0]["format"]), "name": reference, "version": ONLY_VERSION}
    names = sorted({f"{row['name']}:{row.get('version')}" for row in models})
    raise ConfigError(f"the resource {account.name} has no model {reference}; it has {', '.join(names) or 'none'}")


def whole_model(model: str) -> str:
    """Return the fine-tuned model that a checkpoint is of; any other name as it is."""
    return model.partition(_CHECKPOINT)[0]


def _source(place: OpenAIPlace, source: str | None) -> Account | None:
    """Return the resource that a model was trained in, by its id, or by its name in the group.

    Raises ConfigError where it is not there.
    """
    if source is None:
        return None
    account_id = source if source.startswith("/") else place.settings.id_of(ACCOUNTS, source)
    resource = place.arm.get(account_id, OPENAI_VERSION)
    if resource is None:
        raise ConfigError(
            f"--source {source}: there is no such Azure OpenAI resource; give its id, or name one of the group"
        )
    return Account(place.arm, resource)


def _sku(wanted: str | None, *, is_tuned: bool) -> str:
    default = DEVELOPER if is_tuned else "GlobalStandard"
    for sku in SKUS:
        if sku.lower() == (wanted or default).lower():
            if sku == DEVELOPER and not is_tuned:
                raise ConfigError(
                    f"--sku {sku} is for fine-tuned models: a base model takes Standard or GlobalStandard"
                )
            return sku
    raise ConfigError(f"--sku {wanted}: there are {', '.join(SKUS)}")


def _cost(sku: str, *, is_tuned: bool) -> str:
    if sku == DEVELOPER:
        return f"{sku}, billed by the token, no hourly fee and no guarantee, and removed by Azure after 24 hours"
    if is_tuned:
        return f"{sku}, hosted by the hour whether it is asked or not, and billed by the token"
    return f"{sku}, billed by the token"
