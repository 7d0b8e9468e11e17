"""What phi3flow deployed in the workspace: noted in the project's state, or only known to Azure; and how it fares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from phi3flow.azure.workspace.endpoints import OnlineEndpoint, list_own
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.project.state import EndpointState, EndpointStatus, Liveness

_LIVENESS: dict[str, Liveness] = {"Succeeded": "running", "Failed": "crashed", "Deleting": "stopping"}


def examine_all(workspace: Workspace, noted: Sequence[EndpointState]) -> list[EndpointStatus]:
    """Ask Azure how every deployment fares.

    Besides what is noted these are the deployments that phi3flow made from another folder, or in a call that was
    killed before it noted them.
    """
    own = {str(endpoint["name"]): endpoint for endpoint in list_own(workspace)}
    statuses: list[EndpointStatus] = []
    for name in dict.fromkeys([*(deployment.endpoint for deployment in noted), *own]):
        noted_here = [deployment for deployment in noted if deployment.endpoint == name]
        statuses += _examine(OnlineEndpoint(workspace, name), noted_here, own.get(name))
    return statuses


def _examine(
    endpoint: OnlineEndpoint, noted: Sequence[EndpointState], own: Mapping[str, Any] | None
) -> Iterator[EndpointStatus]:
    """Say how the noted deployments of an endpoint fare, and the unnoted ones where it is our ``own``."""
    existing, traffic = endpoint.deployments(), endpoint.traffic()
    names = {deployment.deployment for deployment in noted}
    unnoted = [_describe(own, row) for name, row in existing.items() if name not in names] if own else []
    for deployment in (*noted, *unnoted):
        name = deployment.deployment
        yield _describe_status(deployment, existing.get(name), traffic.get(name, 0))


def _describe(endpoint: Mapping[str, Any], deployment: Mapping[str, Any]) -> EndpointState:
    """Return a deployment as Azure tells of it."""
    created = (deployment.get("systemData") or {}).get("createdAt")
    return EndpointState(
        backend=BACKEND,
        endpoint=str(endpoint["name"]),
        deployment=str(deployment["name"]),
        url=str(endpoint["properties"].get("scoringUri", "")),
        model=str((deployment.get("tags") or {}).get("model", "")),
        created_at=datetime.fromisoformat(created) if created else datetime.now(UTC),
    )


def _describe_status(endpoint: EndpointState, existing: Mapping[str, Any] | None, share: int) -> EndpointStatus:
    if existing is None:
        return EndpointStatus(**endpoint.model_dump(), state="stopped", detail="it is not there any more")
    liveness = _LIVENESS.get(str(existing["properties"].get("provisioningState")), "starting")
    detail = "it has 0 % of the traffic: it costs, and nobody is served" if not share else None
    return EndpointStatus(**endpoint.model_copy(update={"traffic": share}).model_dump(), state=liveness, detail=detail)
