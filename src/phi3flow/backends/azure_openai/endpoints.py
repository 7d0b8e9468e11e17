"""What phi3flow deployed in an Azure OpenAI resource: how it fares, and what `undeploy` deletes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from phi3flow.azure.openai.account import Account, model_of
from phi3flow.azure.openai.place import OpenAIPlace
from phi3flow.azure.tags import is_tagged
from phi3flow.backends.azure_openai import BACKEND
from phi3flow.backends.azure_openai.deployments import IDLE_DAYS, hosting
from phi3flow.backends.backend import DeletionRequest, Part, PlannedDeletion, only_name
from phi3flow.errors import ConfigError
from phi3flow.project.state import EndpointState, EndpointStatus, Liveness

_LIVENESS: dict[str, Liveness] = {
    "Succeeded": "running",
    "Failed": "crashed",
    "Canceled": "crashed",
    "Deleting": "stopping",
    "Disabled": "unresponsive",
}
_REMOVED = (
    f"it is not there any more: deleted, or removed by Azure, which does so after 24 hours in the developer tier and "
    f"after {IDLE_DAYS} idle days; the model is kept: phi3flow deploy --backend {BACKEND}"
)


def examine_all(account: Account, base_url: str, noted: Sequence[EndpointState]) -> list[EndpointStatus]:
    """Ask Azure how every deployment fares that is noted, and that phi3flow made from elsewhere."""
    rows = {str(row["name"]): row for row in account.deployments()}
    known = {state.endpoint for state in noted}
    unnoted = [_describe(row, base_url) for name, row in rows.items() if is_tagged(row) and name not in known]
    return [_examine(state, rows.get(state.endpoint)) for state in (*noted, *unnoted)]


def plan_deletion(
    place: OpenAIPlace, request: DeletionRequest, noted: Sequence[EndpointState]
) -> PlannedDeletion | None:
    """Say what would be deleted, each before what it stands on: deployment, model, files, job."""
    rows = {str(row["name"]): row for row in place.account.deployments()}
    if request.model:
        return _plan_model(place, request.model, rows, cascade=request.cascade)
    known = [state.endpoint for state in noted]
    chosen = request.endpoint or only_name(known or [name for name, row in rows.items() if is_tagged(row)])
    if chosen is None:
        return None
    row = rows.get(chosen)
    if chosen not in known:
        if row is None:
            raise no_deployment(place.account, chosen, rows)
        _check_ours(place.account, row)
    model = model_of(row) if row else next((state.model for state in noted if state.endpoint == chosen), "")
    behind = _behind(place, model, besides=chosen, rows=rows) if request.cascade else []
    return PlannedDeletion((Part("endpoint", chosen), *behind))


def no_deployment(account: Account, name: str, rows: Mapping[str, Mapping[str, Any]]) -> ConfigError:
    """Return the error that a resource has no deployment of a name, with those that phi3flow made."""
    names = ", ".join(other for other, row in rows.items() if is_tagged(row))
    here = f"phi3flow made {names}" if names else "phi3flow made none"
    return ConfigError(f"there is no deployment {name} in the resource {account.name}: {here}")


def _plan_model(
    place: OpenAIPlace, model: str, rows: Mapping[str, Mapping[str, Any]], *, cascade: bool
) -> PlannedDeletion:
    serving = [name for name, row in rows.items() if model_of(row).lower() == model.lower()]
    if serving and not cascade:
        raise ConfigError(
            f"model {model} is deployed as {', '.join(serving)}: --cascade deletes the deployment, then the model, its "
            "job and its files"
        )
    for name in serving:
        _check_ours(place.account, rows[name])
    if not cascade:
        _need_model(place, model)
        return PlannedDeletion((Part("model", model),))
    behind = _behind(place, model, besides=None, rows={})
    return PlannedDeletion((*(Part("endpoint", name) for name in serving), *behind))


def _need_model(place: OpenAIPlace, model: str) -> None:
    own = [str(row["id"]) for row in place.service.models() if row.get("fine_tune")]
    if model.lower() not in (name.lower() for name in own):
        raise ConfigError(f"the resource has no fine-tuned model {model}; it has {', '.join(own) or 'none'}")


def _behind(
    place: OpenAIPlace, model: str, *, besides: str | None, rows: Mapping[str, Mapping[str, Any]]
) -> list[Part]:
    """Return a fine-tuned model, the job that made it, and those of its files that no other job has.

    Raises ConfigError where another deployment than ``besides`` serves the model.
    """
    others = [name for name, row in rows.items() if name != besides and model_of(row).lower() == model.lower()]
    if others:
        raise ConfigError(
            f"model {model} is deployed as {', '.join(others)} too: undeploy these first, or leave --cascade"
        )
    jobs = place.service.jobs()
    job = next((job for job in jobs if str(job.get("fine_tuned_model")).lower() == model.lower()), None)
    parts = [Part("model", model)] if any(str(row["id"]) == model for row in place.service.models()) else []
    if job is None:
        return parts
    elsewhere = {file for other in jobs if other["id"] != job["id"] for file in _files(other)}
    files = [Part("file", file) for file in _files(job) if file not in elsewhere]
    return [*parts, *files, Part("job", str(job["id"]))]  # last, since it alone knows the files


def _files(job: Mapping[str, Any]) -> list[str]:
    """Return the ids of a job's files."""
    named = [job.get("training_file"), job.get("validation_file"), *(job.get("result_files") or [])]
    return [str(file) for file in named if file]


def _check_ours(account: Account, row: Mapping[str, Any]) -> None:
    if not is_tagged(row):
        group = account.id.split("/")[4]
        raise ConfigError(
            f"phi3flow did not make the deployment {row['name']}; to delete it all the same: az cognitiveservices "
            f"account deployment delete --resource-group {group} --name {account.name} --deployment-name {row['name']}"
        )


def _created_at(row: Mapping[str, Any]) -> datetime:
    created = (row.get("systemData") or {}).get("createdAt")
    return datetime.fromisoformat(created) if created else datetime.now(UTC)


def _describe(row: Mapping[str, Any], base_url: str) -> EndpointState:
    """Return a deployment as Azure tells of it."""
    name = str(row["name"])
    return EndpointState(
        backend=BACKEND,
        endpoint=name,
        deployment=name,
        url=base_url,
        protocol="openai",
        asked_as=name,
        model=model_of(row),
        created_at=_created_at(row),
    )


def _examine(noted: EndpointState, row: Mapping[str, Any] | None) -> EndpointStatus:
    if row is None:
        return EndpointStatus(**noted.model_dump(), state="stopped", detail=_REMOVED)
    remarks = [hosting(str((row.get("sku") or {}).get("name")), model_of(row), _created_at(row))]
    if not is_tagged(row):
        remarks.append("phi3flow did not make it")
    state = str(row["properties"].get("provisioningState"))
    return EndpointStatus(**noted.model_dump(), state=_LIVENESS.get(state, "starting"), detail="; ".join(remarks))
