"""What phi3flow deployed as a service in a project: how it fares, and what `undeploy` deletes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from phi3flow.azure.creation import created_at
from phi3flow.azure.tags import is_tagged
from phi3flow.azure.workspace.models import JOB_TAG, Models
from phi3flow.azure.workspace.serverless_endpoints import base_url, is_filtered, list_serverless, model_of, state_of
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.backend import DeletionRequest, Part, PlannedDeletion, model_to_delete, only_name
from phi3flow.backends.serverless import BACKEND
from phi3flow.backends.serverless.deployments import DEPLOYMENT, by_hand
from phi3flow.errors import ConfigError
from phi3flow.project.state import EndpointState, EndpointStatus, Liveness, ModelState

HOSTED = "hosted by the hour, whether it is asked or not"
_LIVENESS: dict[str, Liveness] = {
    "Online": "running",
    "Deleting": "stopping",
    "CreationFailed": "crashed",
    "DeletionFailed": "unresponsive",
    "Suspending": "unresponsive",
    "Suspended": "unresponsive",
    "Unhealthy": "unresponsive",
}
_IN_PROJECT = "/versions/"
"""Part of the id of a project's own model; one of the registry is served without a version."""


def examine_all(project: Workspace, noted: Sequence[EndpointState]) -> list[EndpointStatus]:
    """Ask Azure how every endpoint fares that is noted, and that phi3flow made from elsewhere."""
    endpoints = {str(row["name"]): row for row in list_serverless(project)}
    known = {state.endpoint for state in noted}
    unnoted = [_describe(row) for name, row in endpoints.items() if is_tagged(row) and name not in known]
    return [_examine(state, endpoints.get(state.endpoint)) for state in (*noted, *unnoted)]


def plan_deletion(
    project: Workspace, request: DeletionRequest, noted: Sequence[EndpointState], models: Sequence[ModelState]
) -> PlannedDeletion | None:
    """Say what would be deleted, each before what it stands on. See ``Backend.plan_deletion``."""
    endpoints = {str(row["name"]): row for row in list_serverless(project)}
    if request.model:
        return _plan_model(project, request, endpoints, models)
    known = [state.endpoint for state in noted]
    chosen = request.endpoint or only_name(known or [name for name, row in endpoints.items() if is_tagged(row)])
    if chosen is None:
        return None
    if chosen not in endpoints and chosen not in known:
        raise no_endpoint(project, chosen, endpoints.values())
    endpoint = endpoints.get(chosen)
    if endpoint is not None and not is_tagged(endpoint):
        raise ConfigError(f"phi3flow did not make the endpoint {chosen}; {by_hand(project, chosen)}")
    model = _model_behind(endpoint, next((state.model for state in noted if state.endpoint == chosen), None))
    parts = [Part("endpoint", chosen)]
    if request.cascade and model is not None:
        _check_ours(project, model, models)
        parts.append(model)
    return PlannedDeletion(tuple(parts))


def no_endpoint(project: Workspace, name: str, rows: Iterable[Mapping[str, Any]]) -> ConfigError:
    """Return the error that the project has no endpoint of a name, with those that phi3flow made."""
    names = ", ".join(str(row["name"]) for row in rows if is_tagged(row))
    here = f"phi3flow made {names}" if names else "phi3flow made none"
    return ConfigError(f"there is no endpoint {name} in the project {project.settings.workspace}: {here}")


def _plan_model(
    project: Workspace,
    request: DeletionRequest,
    endpoints: Mapping[str, Mapping[str, Any]],
    models: Sequence[ModelState],
) -> PlannedDeletion:
    model = model_to_delete(str(request.model), models)
    _check_ours(project, model, models)
    end = f"/models/{model.name}{_IN_PROJECT}{model.of}".lower()
    serving = [name for name, row in endpoints.items() if model_of(row).lower().endswith(end)]
    if serving and not request.cascade:
        raise ConfigError(
            f"model {model.name}:{model.of} is deployed as {', '.join(serving)}: --cascade deletes the endpoint, then "
            "the model"
        )
    foreign = [name for name in serving if not is_tagged(endpoints[name])]
    if foreign:
        raise ConfigError(f"phi3flow did not make the endpoint {foreign[0]}; {by_hand(project, foreign[0])}")
    return PlannedDeletion((*(Part("endpoint", name) for name in serving), model))


def _check_ours(project: Workspace, model: Part, models: Sequence[ModelState]) -> None:
    """Raise ConfigError for a model that is not there, or that no job of ours made.

    One that is noted may be gone already: an earlier call may have been killed.
    """
    if (model.name, model.of) in [(state.name, state.version) for state in models]:
        return
    existing = Models(project).read(model.name, str(model.of))
    if existing is None:
        raise ConfigError(f"the project {project.settings.workspace} has no model {model.name}:{model.of}")
    if JOB_TAG not in (existing["properties"].get("tags") or {}):
        raise ConfigError(
            f"phi3flow did not register the model {model.name}:{model.of}; to delete it all the same: az ml model "
            f"archive --name {model.name} --version {model.of} {project.settings.az_workspace}"
        )


def _model_behind(endpoint: Mapping[str, Any] | None, noted: str | None) -> Part | None:
    """Return the project's model that an endpoint serves, None where it serves one of the registry."""
    if endpoint is None:
        name, _, version = (noted or "").partition(":")
    else:
        name, separator, version = model_of(endpoint).rpartition("/models/")[2].partition(_IN_PROJECT)
        version = version if separator else ""
    return Part("model", name, version) if version else None


def _describe(row: Mapping[str, Any]) -> EndpointState:
    """Return an endpoint as Azure tells of it."""
    return EndpointState(
        backend=BACKEND,
        endpoint=str(row["name"]),
        deployment=DEPLOYMENT,
        url=base_url(row),
        protocol="openai",
        model=str((row.get("tags") or {}).get("model", "")),
        created_at=created_at(row),
    )


def _examine(noted: EndpointState, row: Mapping[str, Any] | None) -> EndpointStatus:
    if row is None:
        return EndpointStatus(**noted.model_dump(), state="stopped", detail="it is not there any more")
    known = noted.model_copy(update={"url": base_url(row) or noted.url})
    state = state_of(row)
    return EndpointStatus(
        **known.model_dump(), state=_LIVENESS.get(state, "starting"), detail="; ".join(_remarks(row, state)) or None
    )


def _remarks(row: Mapping[str, Any], state: str) -> Iterator[str]:
    if state not in ("Online", "Creating", "Deleting"):
        yield f"Azure calls it {state}"
    if _IN_PROJECT in model_of(row):
        yield HOSTED
    if not is_filtered(row):
        yield "content safety is off"
    if not is_tagged(row):
        yield "phi3flow did not make it"
