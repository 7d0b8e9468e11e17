"""A model behind a serverless endpoint: made, asked a question, and taken back if it does not answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.serverless_checks import check_model, check_project, look_up_model
from phi3flow.azure.tags import is_tagged
from phi3flow.azure.workspace.catalog import LATEST, Catalog
from phi3flow.azure.workspace.models import Models
from phi3flow.azure.workspace.serverless_endpoints import (
    ServerlessEndpoint,
    base_url,
    has_failed,
    is_filtered,
    is_online,
    list_serverless,
    model_of,
    state_of,
)
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.backend import DeploymentRequest, PlannedDeployment
from phi3flow.backends.coming_up import EndpointDeployer, ask_chat, give_up, reason_of
from phi3flow.backends.serverless import BACKEND
from phi3flow.errors import ConfigError, DeploymentError

DEPLOYMENT = "default"
"""An endpoint has one deployment, which Azure gives no name."""
UNFILTERED = (
    "warning: content safety is off: nobody looks at what is asked and answered, and what that does is on you; "
    "--content-safety on puts it back"
)
_LONGEST_NAME = 32
_REMEDIES = {
    "deploy models to foundry resources": 'In the portal, under Preview features, switch "Deploy models to Foundry '
    'resources" off',
    "quotaexceeded": "`az ml serverless-endpoint list` shows what there is, to delete what is not needed",
    "marketplace": "Subscribe the project to it: in the portal, or by `az ml marketplace-subscription create`",
    "is taken": "Give another --name",
}
"""What to do, by a part of what Azure says of an endpoint that it does not make, in lower case."""


@dataclass(frozen=True, kw_only=True)
class PlannedEndpoint(PlannedDeployment):
    """The endpoint of a model; ``is_tuned`` tells that it is ours, and hosted by the hour."""

    model_id: str
    is_tuned: bool
    content_safety: bool


@dataclass(frozen=True)
class _Model:
    """A model by its id as an endpoint takes it."""

    name: str
    reference: str
    id: str
    is_tuned: bool


def plan_endpoint(project: Workspace, request: DeploymentRequest, *, latest: str | None) -> PlannedEndpoint:
    """Say what a deployment would be: of the ``latest`` model unless the request names one; a model has one endpoint.

    Raises PreflightError where it could not be, ConfigError for a model that neither the project nor the registry has,
    for an endpoint that serves another model, and for one that somebody else made and that would have to change.
    """
    model = _find_model(project, request.model or latest)
    existing = {str(row["name"]): row for row in list_serverless(project)}
    serving = [name for name, row in existing.items() if model_of(row).lower() == model.id.lower()]
    name = request.name or (serving[0] if serving else endpoint_name(project, model.reference))
    _check_name(name)
    _check_free(name, model, existing, serving)
    endpoint = existing.get(name)
    exists = endpoint is not None and not has_failed(endpoint)
    changes = endpoint is not None and is_filtered(endpoint) != request.content_safety
    if endpoint is not None and not is_tagged(endpoint) and (changes or not exists):
        raise ConfigError(_foreign(project, endpoint, request))
    findings = [] if exists else refuse(check_project(project, "deployed"))
    return PlannedEndpoint(
        model=model.reference,
        cost=None if exists else lambda: _cost(model),
        warnings=(*map(str, findings), *([] if request.content_safety else [UNFILTERED])),
        endpoint=name,
        deployment=DEPLOYMENT,
        exists=exists and not changes,
        model_id=model.id,
        is_tuned=model.is_tuned,
        content_safety=request.content_safety,
    )


def endpoint_name(project: Workspace, model: str) -> str:
    """Name an endpoint after its model, in 3 to 32 characters; it ends in a hash, since a region gives a name once."""
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-").lstrip("0123456789-") or "model"
    digest = hashlib.sha256(f"{project.id}/{model}".lower().encode()).hexdigest()[:5]
    return f"{slug[: _LONGEST_NAME - 6].rstrip('-')}-{digest}"


class ServerlessDeployer(EndpointDeployer):
    """Makes one endpoint in a project."""

    def __init__(self, project: Workspace, planned: PlannedEndpoint, on_note: Callable[[str], None]) -> None:
        bills = "is billed by the hour" if planned.is_tuned else "stays"
        end = f"It {bills} until it is deleted: phi3flow undeploy {planned.endpoint} --backend {BACKEND}"
        super().__init__(f"endpoint {planned.endpoint}", end, on_note)
        self._planned, self._endpoint = planned, ServerlessEndpoint(project, planned.endpoint)

    def _look(self) -> Mapping[str, Any] | None:
        return self._endpoint.read(on_wait=self._wait)

    def _has_failed(self, existing: Mapping[str, Any]) -> bool:
        return has_failed(existing)

    def _keep(self, existing: Mapping[str, Any]) -> str:
        """Leave an endpoint as it is but for content safety, where that is asked for otherwise."""
        url = base_url(existing)
        if url is None or not is_online(existing):
            raise DeploymentError(
                f"{self._what}: it was there before, and Azure calls it {state_of(existing)}; to make it anew: "
                f"phi3flow undeploy {self._planned.endpoint} --backend {BACKEND}, then deploy"
            )
        if is_filtered(existing) != self._planned.content_safety:
            state = "on" if self._planned.content_safety else "off"
            self._on_note(f"{self._what}: switching content safety {state} …")
            self._endpoint.filter(existing, content_safety=self._planned.content_safety, on_wait=self._wait)
        return url

    def _make(self) -> str:
        planned = self._planned
        self._on_note(f"{self._what}: creating it for {planned.model}; this usually takes a few minutes …")
        tags = {"model": planned.model}
        self._endpoint.make(planned.model_id, tags, content_safety=planned.content_safety, on_wait=self._wait)
        url = base_url(self._endpoint.read(on_wait=self._wait) or {"properties": {}})
        if url is None:
            raise DeploymentError("Azure gave it no URL")
        return url

    def _problem(self, url: str) -> str | None:
        return ask_chat(url, self._endpoint.key().get_secret_value())

    def _delete(self) -> None:
        self._endpoint.delete(on_wait=give_up)

    def _explain(self, error: Exception) -> str:
        why = reason_of(error)
        return ". ".join([why, *(remedy for said, remedy in _REMEDIES.items() if said in why.lower())])


def _find_model(project: Workspace, reference: str | None) -> _Model:
    """Return the model of a reference: NAME or NAME:VERSION of the project, else NAME of the registry.

    Raises PreflightError for one of the registry that is not to be had as a service in the project's region.
    """
    if reference is None:
        raise ConfigError(
            "no model was registered from here: deploy NAME[:VERSION], of the project or the registry, or `phi3flow "
            f"register --backend {BACKEND}` after a fine-tune"
        )
    models, (name, _, number) = Models(project), reference.partition(":")
    version = number or models.latest(name) or ""
    if version and models.read(name, version) is not None:
        guid = str(((project.resource or {}).get("properties") or {}).get("workspaceId"))
        place = f"azureml://locations/{project.location}/workspaces/{guid}"
        return _Model(name, f"{name}:{version}", f"{place}/models/{name}/versions/{version}", is_tuned=True)
    try:
        model = look_up_model(project.with_model(reference))
    except ConfigError as error:
        raise ConfigError(f"the project {project.settings.workspace} has no model {reference}, and {error}") from error
    refuse([*check_model(model, project, "deployed")])
    if number and model.version != Catalog(project.with_model(f"{name}:{LATEST}")).model().version:
        raise ConfigError(f"{reference}: as a service Azure serves the newest version of {name}: leave :{number} away")
    registry = project.settings.registry
    return _Model(name, name, f"azureml://registries/{registry}/models/{model.name}", is_tuned=False)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]", name):
        raise ConfigError(f"--name {name!r}: an endpoint has 3 to 32 letters, digits and '-', a letter first")


def _check_free(name: str, model: _Model, existing: Mapping[str, Mapping[str, Any]], serving: list[str]) -> None:
    """Raise ConfigError where the name is another model's endpoint, or the model has another endpoint."""
    if name in existing and name not in serving:
        raise ConfigError(
            f"the endpoint {name} serves {model_of(existing[name])}: give another --name, or "
            f"phi3flow undeploy {name} --backend {BACKEND} first"
        )
    if serving and name not in serving:
        raise ConfigError(
            f"{model.reference} is served by the endpoint {serving[0]} already, and a model has one endpoint in a "
            f"project: leave --name away, or phi3flow undeploy {serving[0]} --backend {BACKEND} first"
        )


def _foreign(project: Workspace, endpoint: Mapping[str, Any], request: DeploymentRequest) -> str:
    """Return why an endpoint that somebody else made is neither changed nor made anew."""
    name, wanted = endpoint["name"], "on" if request.content_safety else "off"
    if has_failed(endpoint):
        return f"phi3flow did not make the endpoint {name}, which failed; {by_hand(project, name)}"
    return (
        f"phi3flow did not make the endpoint {name}, and does not switch its content safety {wanted}: whoever made it "
        f"can, or give --content-safety {'off' if request.content_safety else 'on'}, as it is"
    )


def by_hand(project: Workspace, name: str) -> str:
    """Return how somebody deletes an endpoint that phi3flow did not make."""
    flags = project.settings.az_workspace
    return f"to delete it all the same: az ml serverless-endpoint delete --name {name} {flags}"


def _cost(model: _Model) -> str:
    if model.is_tuned:
        return "Azure's own machines, hosted by the hour whether it is asked or not, and billed by the token"
    return "Azure's own machines, billed by the token and nothing while it is not asked"
