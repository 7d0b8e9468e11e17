"""What ``azure down`` deletes: all that phi3flow made and nobody else leans on; the resource group stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.foundation.inventory import list_requirements
from phi3flow.azure.foundation.plan import AT_ONCE
from phi3flow.azure.foundation.resources import Requirement, Resource
from phi3flow.azure.tags import is_tagged
from phi3flow.azure.workspace.endpoints import list_own
from phi3flow.azure.workspace.workspace import Workspace


@dataclass(frozen=True)
class Removal:
    """What is to be deleted, and what is kept though phi3flow made it, with the reason."""

    remove: list[Requirement]
    kept: list[tuple[Requirement, str]]


def plan_removal(workspace: Workspace) -> Removal:
    """Look for what phi3flow made, and change nothing. Endpoints come before all else, since they cost by the hour."""
    arm = workspace.arm
    requirements = list_requirements(workspace.settings, tenant_id=arm.caller().tenant_id)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        is_ours = list(pool.map(lambda requirement: requirement.is_ours(arm), requirements))
    ours = [resource for resource, mine in zip(requirements, is_ours, strict=True) if mine and not _stays(resource)]
    reasons = _reasons_to_keep(workspace, ours)
    remove = [resource for resource in ours if resource.key not in reasons]
    kept = [(resource, reasons[resource.key]) for resource in ours if resource.key in reasons]
    endpoints = _endpoints(workspace, after=tuple(resource.key for resource in remove))
    return Removal([*endpoints, *remove], kept)


def _stays(requirement: Requirement) -> bool:
    return isinstance(requirement, Resource) and requirement.kept


def _endpoints(workspace: Workspace, *, after: tuple[str, ...]) -> list[Requirement]:
    """Return the endpoints that were made here, each to be deleted before everything of ``after``."""
    endpoints = list_own(workspace)
    return [Resource("endpoint", str(endpoint["id"]), ML_VERSION, {}, needs=after) for endpoint in endpoints]


def _reasons_to_keep(workspace: Workspace, ours: Sequence[Requirement]) -> dict[str, str]:
    """Return why things must stay, by key: somebody else's lie in them, or stand on them, or on what stands on them."""
    by_key = {resource.key: resource for resource in ours}
    reasons = _inhabitants(workspace) | _dependents(workspace, by_key)
    waiting = list(reasons)
    while waiting:
        key = waiting.pop()
        for need in by_key[key].needs if key in by_key else ():
            if need in by_key and need not in reasons:
                reasons[need] = f"{by_key[key].label} {by_key[key].name} stands on it"
                waiting.append(need)
    return {key: reason for key, reason in reasons.items() if key in by_key}


def _inhabitants(workspace: Workspace) -> dict[str, str]:
    """Find computes and endpoints in our workspace that phi3flow did not make."""
    theirs = [
        f"{kind} {inhabitant['name']}"
        for kind, collection in (("compute", "computes"), ("endpoint", "onlineEndpoints"))
        for inhabitant in workspace.arm.list(f"{workspace.id}/{collection}", ML_VERSION)
        if not is_tagged(inhabitant)
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
