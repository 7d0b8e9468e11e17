"""Which model a deployment is of, a registered one or one of the registry, and whether it can be deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from phi3flow.azure.preflight.catalog_checks import check_inference
from phi3flow.azure.preflight.findings import Finding, refuse
from phi3flow.azure.preflight.preflight import check_deployment, check_endpoint
from phi3flow.azure.prices import describe_cost
from phi3flow.azure.workspace.catalog import Catalog
from phi3flow.azure.workspace.endpoints import OnlineEndpoint, has_succeeded
from phi3flow.azure.workspace.models import Models
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml.deployments import PlannedVersion, deployment_name
from phi3flow.backends.backend import DeploymentRequest
from phi3flow.errors import ConfigError

_REGISTRY_ID = re.compile(r"azureml://registries/([^/]+)/models/([^/]+)/versions/([^/]+)")


@dataclass(frozen=True)
class _Version:
    """A version of a model by its id in Azure, and what to know before it is deployed."""

    name: str
    number: str
    id: str
    warnings: tuple[Finding, ...] = ()


def plan_version(workspace: Workspace, request: DeploymentRequest, *, latest: str | None) -> PlannedVersion:
    """Say what a deployment would be; each version of a model gets one of its own. ``latest`` is the default model.

    Raises PreflightError where a new one could not be, and ConfigError for a model that neither the workspace nor the
    registry has, or a percentage that is not whole, which Azure does not take.
    """
    if request.traffic != int(request.traffic):
        raise ConfigError(f"--traffic {request.traffic:g}: Azure takes whole percentages")
    model = _find_model(workspace, request.model or latest)
    settings = workspace.settings
    endpoint = OnlineEndpoint(workspace, request.name or settings.endpoint)
    deployment = deployment_name(model.name, model.number)
    existing = endpoint.deployment(deployment)
    exists = existing is not None and existing["properties"].get("provisioningState") != "Failed"
    findings = [*model.warnings, *check_endpoint(workspace, endpoint)]
    if existing is not None and exists:
        _check_same(endpoint, deployment, existing, model)
        findings += _changes(workspace, existing)
    else:
        findings += check_deployment(workspace)
    instances = _instances_to_set(workspace, existing)
    is_new = not exists or instances is not None
    return PlannedVersion(
        model=f"{model.name}:{model.number}",
        cost=(lambda: describe_cost(settings.deployment_size, workspace.location, settings.instances))
        if is_new
        else None,
        warnings=tuple(map(str, refuse(findings))),
        endpoint=endpoint.name,
        deployment=deployment,
        exists=exists,
        model_id=model.id,
        traffic=int(request.traffic),
        instances=instances,
    )


def _find_model(workspace: Workspace, reference: str | None) -> _Version:
    """Return the model of a reference: NAME or NAME:VERSION of the workspace, else of the registry, or an id there."""
    if reference is None:
        raise ConfigError(
            "no model was registered from here: deploy NAME[:VERSION], of the workspace or the registry, or "
            "`phi3flow register` first"
        )
    in_registry = _REGISTRY_ID.fullmatch(reference)
    if in_registry:
        registry, name, number = in_registry.groups()
        settings = workspace.settings.model_copy(update={"registry": registry})
        return _of_registry(replace(workspace, settings=settings), f"{name}:{number}")
    models, (name, _, number) = Models(workspace), reference.partition(":")
    number = number or models.latest(name) or ""
    if number and models.read(name, number) is not None:
        return _Version(name, number, models.id_of(name, number))
    try:
        return _of_registry(workspace, reference)
    except ConfigError as error:
        raise ConfigError(
            f"the workspace {workspace.settings.workspace} has no model {reference}, and {error}"
        ) from error


def _of_registry(workspace: Workspace, reference: str) -> _Version:
    workspace = workspace.with_model(reference)
    model = Catalog(workspace).model()
    return _Version(model.name, model.version, model.id, tuple(check_inference(model, workspace.settings)))


def _check_same(endpoint: OnlineEndpoint, name: str, existing: Mapping[str, Any], model: _Version) -> None:
    """Raise ConfigError where the deployment of this name is of another model."""
    other = str(existing["properties"].get("model") or "")
    if ("registries/" in other.lower()) != ("registries/" in model.id.lower()):
        raise ConfigError(
            f"deployment {name} of endpoint {endpoint.name} is of another model of that name, {other}: give another "
            "endpoint with --name, or undeploy it first"
        )


def _instances_to_set(workspace: Workspace, existing: Mapping[str, Any] | None) -> int | None:
    """Return the instances that an existing deployment is to get: only where the settings say so, not by default."""
    settings = workspace.settings
    if existing is None or not has_succeeded(existing) or "instances" not in settings.model_fields_set:
        return None
    return settings.instances if existing["sku"]["capacity"] != settings.instances else None


def _changes(workspace: Workspace, existing: Mapping[str, Any]) -> Iterator[Finding]:
    """Find where an existing deployment is not as the settings have it and stays so."""
    settings, size = workspace.settings, str(existing["properties"].get("instanceType"))
    name = f"deployment {existing['name']}"
    if size.lower() != settings.deployment_size.lower():
        yield Finding.warning(
            name,
            f"it runs on {size}, and stays there: the size of a deployment cannot be changed to "
            f"{settings.deployment_size}",
            "`phi3flow undeploy` and `phi3flow deploy` move it.",
        )
    capacity = existing["sku"]["capacity"]
    if capacity != settings.instances and "instances" not in settings.model_fields_set:
        yield Finding.warning(
            name, f"it has {capacity} instances and keeps them", "`instances` in phi3flow.toml sets another number."
        )
