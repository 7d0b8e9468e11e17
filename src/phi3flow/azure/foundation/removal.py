"""What ``azure down`` deletes: all that phi3flow made and nobody else leans on; the resource group stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.foundation.inventory import list_removable
from phi3flow.azure.foundation.plan import AT_ONCE
from phi3flow.azure.foundation.resources import Condition, Requirement, Resource
from phi3flow.azure.openai.account import ACCOUNTS, OPENAI_VERSION
from phi3flow.azure.tags import is_tagged
from phi3flow.azure.workspace.endpoints import ListedEndpoint, OnlineEndpoint, list_endpoints, shift_traffic
from phi3flow.azure.workspace.workspace import Workspace


@dataclass(frozen=True)
class Removal:
    """What is to be deleted, and what is kept though phi3flow made it, with the reason."""

    remove: list[Requirement]
    kept: list[tuple[Requirement, str]]


def plan_removal(workspace: Workspace) -> Removal:
    """Look for what phi3flow made, and change nothing. Endpoints come before all else, since they cost by the hour."""
    arm = workspace.arm
    requirements = list_removable(workspace.settings, tenant_id=arm.caller().tenant_id, existing=workspace.resource)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        is_ours = list(pool.map(lambda requirement: requirement.is_ours(arm), requirements))
    ours = [resource for resource, mine in zip(requirements, is_ours, strict=True) if mine and not _stays(resource)]
    listed, models = list_endpoints(workspace), _list_in_accounts(arm, ours)
    reasons = _reasons_to_keep(workspace, ours, _inhabitants(workspace, listed) | _strangers(models))
    remove = [resource for resource in ours if resource.key not in reasons]
    kept = [(resource, reasons[resource.key]) for resource in ours if resource.key in reasons]
    after = tuple(resource.key for resource in remove)
    endpoints = [requirement for endpoint in listed for requirement in _removable(workspace, endpoint, after)]
    served = [
        Resource("model deployment", str(row["id"]), OPENAI_VERSION, {}, needs=(account,))
        for account, rows in models.items()
        for row in rows
        if is_tagged(row)
    ]
    return Removal([*endpoints, *served, *remove], [*kept, *_kept_endpoints(workspace, listed)])


def _stays(requirement: Requirement) -> bool:
    return isinstance(requirement, Resource) and requirement.kept


@dataclass(frozen=True)
class _Deployment:
    """A deployment that phi3flow made in an endpoint that stays."""

    endpoint: OnlineEndpoint
    name: str
    needs: tuple[str, ...]
    label: str = "deployment"

    @property
    def id(self) -> str:
        """Its id."""
        return f"{self.endpoint.id}/deployments/{self.name}"

    @property
    def key(self) -> str:
        """Its id, in lower case."""
        return self.id.lower()

    def look(self, arm: Arm) -> Condition:
        """It is there."""
        return Condition("exists")

    def make(self, arm: Arm) -> None:
        """Never: `phi3flow deploy` makes it."""

    def is_ours(self, arm: Arm) -> bool:
        """It has our tag."""
        return True

    def remove(self, arm: Arm) -> None:
        """Give its traffic to those that stay, and delete it."""
        traffic = self.endpoint.traffic()
        if self.name in traffic:
            rest = shift_traffic(traffic, self.name, 0)
            self.endpoint.route({name: share for name, share in rest.items() if name != self.name})
        self.endpoint.delete_deployment(self.name)


def _removable(workspace: Workspace, endpoint: ListedEndpoint, after: tuple[str, ...]) -> list[Requirement]:
    """Return an endpoint that is ours alone, else our deployments in it, each to be deleted before all of ``after``."""
    if endpoint.is_ours and not endpoint.foreign:
        return [Resource("endpoint", str(endpoint.resource["id"]), ML_VERSION, {}, needs=after)]
    service = OnlineEndpoint(workspace, endpoint.name)
    return [_Deployment(service, name, after) for name in endpoint.own]


def _kept_endpoints(workspace: Workspace, listed: Sequence[ListedEndpoint]) -> list[tuple[Requirement, str]]:
    return [
        (
            Resource("endpoint", str(endpoint.resource["id"]), ML_VERSION, {}),
            f"phi3flow did not make its deployment {', '.join(endpoint.foreign)}",
        )
        for endpoint in listed
        if endpoint.is_ours and endpoint.foreign
    ]


def _list_in_accounts(arm: Arm, ours: Sequence[Requirement]) -> dict[str, list[dict[str, Any]]]:
    """Return the deployments and projects in Azure OpenAI resources of ours, by the resource's key."""
    accounts = [resource for resource in ours if isinstance(resource, Resource) and f"/{ACCOUNTS}/" in resource.id]
    return {
        account.key: [
            row for kind in ("deployments", "projects") for row in arm.list(f"{account.id}/{kind}", OPENAI_VERSION)
        ]
        for account in accounts
    }


def _strangers(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Find what others made in Azure OpenAI resources of ours."""
    theirs = {
        account: ", ".join(
            f"{str(row['type']).rpartition('/')[2].removesuffix('s')} {str(row['name']).rpartition('/')[2]}"
            for row in rows
            if not is_tagged(row)
        )
        for account, rows in models.items()
    }
    return {account: f"phi3flow did not make its {names}" for account, names in theirs.items() if names}


def _reasons_to_keep(workspace: Workspace, ours: Sequence[Requirement], inhabited: Mapping[str, str]) -> dict[str, str]:
    """Return why things must stay, by key: somebody else's lie in them, or stand on them, or on what stands on them."""
    by_key = {resource.key: resource for resource in ours}
    reasons = {**inhabited, **_dependents(workspace, by_key)}
    waiting = list(reasons)
    while waiting:
        key = waiting.pop()
        for need in by_key[key].needs if key in by_key else ():
            if need in by_key and need not in reasons:
                reasons[need] = f"{by_key[key].label} {by_key[key].name} stands on it"
                waiting.append(need)
    return {key: reason for key, reason in reasons.items() if key in by_key}


def _inhabitants(workspace: Workspace, listed: Sequence[ListedEndpoint]) -> dict[str, str]:
    """Find computes, endpoints and deployments in our workspace that phi3flow did not make."""
    theirs = [
        *(
            f"compute {compute['name']}"
            for compute in workspace.arm.list(f"{workspace.id}/computes", ML_VERSION)
            if not is_tagged(compute)
        ),
        *(f"endpoint {endpoint.name}" for endpoint in listed if not endpoint.is_ours or endpoint.foreign),
    ]
    return {workspace.id.lower(): f"phi3flow did not make its {', '.join(theirs)}"} if theirs else {}


def _dependents(workspace: Workspace, by_key: Iterable[str]) -> dict[str, str]:
    """Find what workspaces of others in the group stand on."""
    keys, reasons = set(by_key), {}
    collection = workspace.settings.id_of("Microsoft.MachineLearningServices", "workspaces")
    for neighbour in workspace.arm.list(collection, ML_VERSION):
        if str(neighbour["id"]).lower() not in keys and not is_tagged(neighbour):
            for used in _texts(neighbour.get("properties", {})):
                if used.lower() in keys:
                    reasons[used.lower()] = f"workspace {neighbour['name']}, which phi3flow did not make, stands on it"
    return reasons


def _texts(properties: dict[str, Any]) -> list[str]:
    return [value for value in properties.values() if isinstance(value, str)]
