"""What phi3flow deployed in the workspace: noted in the project's state, or only known to Azure; and how it fares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from phi3flow.azure.creation import created_at
from phi3flow.azure.prices import HOURS, hourly_price
from phi3flow.azure.workspace.endpoints import ListedEndpoint, list_endpoints
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.project.state import EndpointState, EndpointStatus, Liveness

_LIVENESS: dict[str, Liveness] = {"Succeeded": "running", "Failed": "crashed", "Deleting": "stopping"}


def examine_all(workspace: Workspace, noted: Sequence[EndpointState]) -> list[EndpointStatus]:
    """Ask Azure how every deployment fares, and what it costs.

    Besides what is noted these are the deployments that phi3flow made from another folder, or in a call that was
    killed before it noted them, in whoever's endpoint, and all in endpoints that phi3flow made.
    """
    endpoints = {endpoint.name: endpoint for endpoint in list_endpoints(workspace)}
    names = [endpoint.name for endpoint in endpoints.values() if endpoint.has_ours]
    statuses: list[EndpointStatus] = []
    for name in dict.fromkeys([*(deployment.endpoint for deployment in noted), *names]):
        noted_here = [deployment for deployment in noted if deployment.endpoint == name]
        statuses += _examine(noted_here, endpoints.get(name))
    return _with_prices(workspace, statuses)


def _examine(noted: Sequence[EndpointState], endpoint: ListedEndpoint | None) -> Iterator[EndpointStatus]:
    """Say how the noted deployments of an endpoint fare, and the unnoted ones that are ours or stand in ours."""
    known = {deployment.deployment for deployment in noted}
    visible = [] if endpoint is None else list(endpoint.deployments) if endpoint.is_ours else endpoint.own
    unnoted = [_describe(endpoint, name) for name in visible if endpoint and name not in known]
    for deployment in (*noted, *unnoted):
        yield _describe_status(deployment, endpoint)


def _describe(endpoint: ListedEndpoint, name: str) -> EndpointState:
    """Return a deployment as Azure tells of it."""
    deployment = endpoint.deployments[name]
    return EndpointState(
        backend=BACKEND,
        endpoint=endpoint.name,
        deployment=name,
        url=endpoint.resource["properties"].get("scoringUri"),
        model=str((deployment.get("tags") or {}).get("model", "")),
        created_at=created_at(deployment),
    )


def _describe_status(noted: EndpointState, endpoint: ListedEndpoint | None) -> EndpointStatus:
    existing = endpoint.deployments.get(noted.deployment) if endpoint else None
    if endpoint is None or existing is None:
        return EndpointStatus(**noted.model_dump(), state="stopped", detail="it is not there any more")
    properties = endpoint.resource["properties"]
    share = int((properties.get("traffic") or {}).get(noted.deployment) or 0)
    known = noted.model_copy(update={"traffic": share, "url": noted.url or properties.get("scoringUri")})
    return EndpointStatus(
        **known.model_dump(),
        state=_LIVENESS.get(str(existing["properties"].get("provisioningState")), "starting"),
        detail="; ".join(_remarks(endpoint, noted.deployment, share)) or None,
        size=existing["properties"].get("instanceType"),
        instances=(existing.get("sku") or {}).get("capacity"),
    )


def _remarks(endpoint: ListedEndpoint, deployment: str, share: int) -> Iterator[str]:
    if not share:
        yield "it has 0 % of the traffic: it costs, and nobody is served"
    if deployment in endpoint.foreign:
        yield "phi3flow did not make it"
    if not endpoint.is_ours:
        yield "phi3flow did not make its endpoint"


def _with_prices(workspace: Workspace, statuses: Sequence[EndpointStatus]) -> list[EndpointStatus]:
    """Add what each deployment costs a day, where the price is to be had."""
    sizes = sorted({status.size for status in statuses if status.size})
    with ThreadPoolExecutor(max(1, len(sizes))) as pool:
        prices: Mapping[str, Any] = dict(
            zip(sizes, pool.map(lambda size: hourly_price(size, workspace.location), sizes), strict=True)
        )
    return [_with_price(status, prices.get(status.size or "")) for status in statuses]


def _with_price(status: EndpointStatus, price: float | None) -> EndpointStatus:
    if price is None or status.instances is None:
        return status
    return status.model_copy(update={"dollars_per_day": round(price * HOURS * status.instances, 2)})
