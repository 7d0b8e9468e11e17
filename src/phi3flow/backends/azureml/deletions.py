"""What `undeploy` deletes: of what phi3flow made, the thing that is named or the only one; never what others made."""

from __future__ import annotations

from collections.abc import Sequence

from phi3flow.azure.workspace.endpoints import ListedEndpoint, OnlineEndpoint, list_endpoints
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.backends.backend import Part, only_name
from phi3flow.errors import ConfigError
from phi3flow.project.state import EndpointState


def plan_deletion(
    workspace: Workspace, noted: Sequence[EndpointState], name: str | None, deployment: str | None
) -> Part | None:
    """Say what would be deleted, None where there is nothing. See ``Backend.plan_deletion``."""
    endpoints = {endpoint.name: endpoint for endpoint in list_endpoints(workspace)}
    ours = [endpoint for endpoint in endpoints.values() if endpoint.has_ours]
    known = list(dict.fromkeys(state.endpoint for state in noted)) or [endpoint.name for endpoint in ours]
    chosen = name or only_name(known)
    if chosen is None:
        return None
    noted_there = [state.deployment for state in noted if state.endpoint == chosen]
    endpoint = endpoints.get(chosen)
    if endpoint is None and not noted_there:
        raise no_endpoint(workspace, chosen, ours)
    if endpoint is not None and not endpoint.is_ours and name is None and len(endpoint.own) == 1:
        deployment = deployment or endpoint.own[0]
    if deployment is not None:
        if endpoint is not None and deployment not in noted_there:
            _check_deployment(workspace, endpoint, deployment)
        return Part("deployment", deployment, of=chosen)
    if endpoint is not None:
        _check_endpoint(workspace, endpoint)
    return Part("endpoint", chosen)


def no_endpoint(workspace: Workspace, name: str, ours: Sequence[ListedEndpoint]) -> ConfigError:
    """Return the error that the workspace has no endpoint of a name, with those that phi3flow made."""
    names = ", ".join(endpoint.name for endpoint in ours)
    here = f"phi3flow made {names}" if names else "phi3flow made none"
    return ConfigError(f"there is no endpoint {name} in the workspace {workspace.settings.workspace}: {here}")


def _check_deployment(workspace: Workspace, endpoint: ListedEndpoint, name: str) -> None:
    """Raise ConfigError for a deployment that is not there, or that phi3flow did not make."""
    if name not in endpoint.deployments:
        names = ", ".join(endpoint.deployments) or "none"
        raise ConfigError(f"the endpoint {endpoint.name} has no deployment {name}; it has {names}")
    if name in endpoint.foreign:
        raise ConfigError(
            f"phi3flow did not make deployment {name} of the endpoint {endpoint.name}; to delete it all the same: "
            f"az ml online-deployment delete --name {name} --endpoint-name {endpoint.name} "
            f"{workspace.settings.az_workspace}"
        )


def _check_endpoint(workspace: Workspace, endpoint: ListedEndpoint) -> None:
    """Raise ConfigError for an endpoint that phi3flow did not make, or in which there is something that it did not."""
    command = OnlineEndpoint(workspace, endpoint.name).deletion_command
    all_the_same = f"to delete it with all that is in it all the same: {command}"
    if not endpoint.is_ours:
        own = "".join(
            f"; of it phi3flow made deployment {name}: phi3flow undeploy {endpoint.name} --backend {BACKEND} "
            f"--deployment {name}"
            for name in endpoint.own
        )
        raise ConfigError(f"phi3flow did not make the endpoint {endpoint.name}{own}; {all_the_same}")
    if endpoint.foreign:
        raise ConfigError(
            f"phi3flow did not make deployment {', '.join(endpoint.foreign)} of the endpoint {endpoint.name}; "
            f"{all_the_same}"
        )
