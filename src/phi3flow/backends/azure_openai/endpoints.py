"""What phi3flow deployed in an Azure OpenAI resource: how it fares, and what `undeploy` deletes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi3flow.azure.creation import created_at
from phi3flow.azure.openai.account import Account, model_of
from phi3flow.azure.openai.place import OpenAIPlace
from phi3flow.azure.tags import is_tagged
from phi3flow.backends.azure_openai import BACKEND
from phi3flow.backends.azure_openai.deployments import IDLE_DAYS, ONLY_VERSION, hosting, whole_model
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
_NOT_ASKED = "Azure was not asked how it fares: that takes AZURE_SUBSCRIPTION_ID, or subscription_id in phi3flow.toml"
_REMOVED = (
    f"it is not there any more: deleted, or removed by Azure, which does so after 24 hours in the developer tier and "
    f"after {IDLE_DAYS} idle days; the model is kept: phi3flow deploy --backend {BACKEND}"
)


def examine_all(place: OpenAIPlace, noted: Sequence[EndpointState]) -> list[EndpointStatus]:
    """Ask Azure how every deployment fares that is noted, and that phi3flow made from elsewhere.

    Without a subscription nobody can be asked; then those that are noted are told with what to set.
    """
    if not place.has_settings:
        return [EndpointStatus(**state.model_dump(), state="unresponsive", detail=_NOT_ASKED) for state in noted]
    rows = {str(row["name"]): row for row in place.found_account.deployments()} if place.found_account else {}
    known = {state.endpoint for state in noted}
    unnoted = [name for name, row in rows.items() if is_tagged(row) and name not in known]
    described = [_describe(rows[name], place.service.address.base_url) for name in unnoted]
    return [_examine(state, rows.get(state.endpoint)) for state in (*noted, *described)]


def plan_deletion(
    place: OpenAIPlace, request: DeletionRequest, noted: Sequence[EndpointState], models: Mapping[str, str]
) -> PlannedDeletion | None:
    """Say what would be deleted, each before what it stands on: deployment, model, files, job.

    ``noted`` and ``models`` are what was deployed and registered from here, models with the job that made each: of an
    earlier call that was killed they may be all that is left.
    """
    rows = {str(row["name"]): row for row in place.account.deployments()}
    if request.model:
        model = request.model.removesuffix(f":{ONLY_VERSION}")
        return _plan_model(place, model, rows, cascade=request.cascade, noted=models)
    known = [state.endpoint for state in noted]
    chosen = request.endpoint or only_name(known or [name for name, row in rows.items() if is_tagged(row)])
    if chosen is None:
        return None
    row = rows.get(chosen)
    if row is not None:
        _check_ours(place.account, row)
    elif chosen not in known:
        raise no_deployment(place.account, chosen, rows)
    model = model_of(row) if row else next((state.model for state in noted if state.endpoint == chosen), "")
    behind = _behind(place, model, besides=[chosen], rows=rows, noted=models) if request.cascade else []
    return PlannedDeletion((Part("endpoint", chosen), *behind))


def no_deployment(account: Account, name: str, rows: Mapping[str, Mapping[str, Any]]) -> ConfigError:
    """Return the error that a resource has no deployment of a name, with those that phi3flow made."""
    names = ", ".join(other for other, row in rows.items() if is_tagged(row))
    here = f"phi3flow made {names}" if names else "phi3flow made none"
    return ConfigError(f"there is no deployment {name} in the resource {account.name}: {here}")


def removed(name: str) -> ConfigError:
    """Return the error that a deployment which was made from here is gone, with why that may be."""
    return ConfigError(f"deployment {name}: {_REMOVED}")


def _plan_model(
    place: OpenAIPlace, model: str, rows: Mapping[str, Mapping[str, Any]], *, cascade: bool, noted: Mapping[str, str]
) -> PlannedDeletion:
    serving = [name for name, row in rows.items() if _is_of(model, row)]
    if serving and not cascade:
        raise ConfigError(
            f"model {model} is deployed as {', '.join(serving)}: --cascade deletes the deployment, then the model, its "
            "job and its files"
        )
    for name in serving:
        _check_ours(place.account, rows[name])
    behind = _behind(place, model, besides=serving, rows=rows, noted=noted)
    wanted = behind if cascade else [part for part in behind if part.kind == "model"]
    if not wanted:
        own = ", ".join(str(row["id"]) for row in place.service.models() if row.get("fine_tune")) or "none"
        raise ConfigError(f"the resource has no fine-tuned model {model}:{ONLY_VERSION}; it has {own}")
    return PlannedDeletion((*(Part("endpoint", name) for name in serving), *wanted))


def _is_of(model: str, row: Mapping[str, Any]) -> bool:
    """Whether a deployment serves a model, or one of its checkpoints."""
    return whole_model(model_of(row)).lower() == whole_model(model).lower()


def _behind(
    place: OpenAIPlace,
    served: str,
    *,
    besides: Sequence[str],
    rows: Mapping[str, Mapping[str, Any]],
    noted: Mapping[str, str],
) -> list[Part]:
    """Return a fine-tuned model, or the one that a checkpoint is of, those files that only its job has, and the job.

    Raises ConfigError where other deployments than ``besides`` serve the model.
    """
    model = whole_model(served)
    own = {str(row["id"]).lower() for row in place.service.models() if row.get("fine_tune")}
    jobs = place.service.jobs()
    job = next((job for job in jobs if str(job.get("fine_tuned_model")).lower() == model.lower()), None)
    known = {name.lower(): made_by for name, made_by in noted.items()}
    parts = [Part("model", model, ONLY_VERSION)] if model.lower() in own | known.keys() else []
    if job:
        elsewhere = {file for other in jobs if other["id"] != job["id"] for file in _files(other)}
        parts += [Part("file", file) for file in _files(job) if file not in elsewhere]
        parts += [Part("job", str(job["id"]))]  # last, since it alone knows the files
    elif model.lower() in known:
        parts += [Part("job", known[model.lower()])]
    others = [name for name, row in rows.items() if name not in besides and _is_of(model, row)]
    if parts and others:
        raise ConfigError(
            f"model {model} is deployed as {', '.join(others)} too: undeploy these first, or leave --cascade"
        )
    return parts


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
        created_at=created_at(row),
    )


def _examine(noted: EndpointState, row: Mapping[str, Any] | None) -> EndpointStatus:
    if row is None:
        return EndpointStatus(**noted.model_dump(), state="stopped", detail=_REMOVED)
    remarks = [hosting(str((row.get("sku") or {}).get("name")), model_of(row), created_at(row))]
    if not is_tagged(row):
        remarks.append("phi3flow did not make it")
    state = str(row["properties"].get("provisioningState"))
    return EndpointStatus(**noted.model_dump(), state=_LIVENESS.get(state, "starting"), detail="; ".join(remarks))
