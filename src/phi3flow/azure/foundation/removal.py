"""What ``azure down`` deletes: all that phi3flow made and nobody else leans on; the resource group stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.foundation.inventory import list_wanted
from phi3flow.azure.foundation.plan import AT_ONCE
from phi3flow.azure.foundation.resources import Resource, Wanted
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.tags import is_tagged
from phi3flow.azure.workspace.endpoints import list_made


@dataclass(frozen=True)
class Removal:
    """What is to be deleted, and what is kept though phi3flow made it, with the reason."""

    remove: list[Wanted]
    kept: list[tuple[Wanted, str]]


def plan_removal(arm: Arm, settings: AzureSettings) -> Removal:
    """Look for what phi3flow made, and change nothing. Endpoints come before all else, since they cost by the hour."""
    wanted = list_wanted(settings, tenant_id=arm.caller().tenant_id)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        is_ours = list(pool.map(lambda each: each.is_ours(arm), wanted))
    ours = [each for each, mine in zip(wanted, is_ours, strict=True) if mine and not _stays(each)]
    reasons = _reasons_to_keep(arm, settings, ours)
    remove = [each for each in ours if each.key not in reasons]
    endpoints = _endpoints(arm, settings, after=tuple(each.key for each in remove))
    return Removal([*endpoints, *remove], [(each, reasons[each.key]) for each in ours if each.key in reasons])


def _stays(wanted: Wanted) -> bool:
    return isinstance(wanted, Resource) and wanted.kept


def _endpoints(arm: Arm, settings: AzureSettings, *, after: tuple[str, ...]) -> list[Wanted]:
    """Return the endpoints that were made here, each to be deleted before everything of ``after``."""
    return [Resource("endpoint", str(each["id"]), ML_VERSION, {}, needs=after) for each in list_made(arm, settings)]


def _reasons_to_keep(arm: Arm, settings: AzureSettings, ours: Sequence[Wanted]) -> dict[str, str]:
    """Return why things must stay, by key: somebody else's lie in them, or stand on them, or on what stands on them."""
    by_key = {each.key: each for each in ours}
    reasons = _inhabitants(arm, settings.workspace_id(settings.workspace)) | _dependents(arm, settings, by_key)
    waiting = list(reasons)
    while waiting:
        key = waiting.pop()
        for need in by_key[key].needs if key in by_key else ():
            if need in by_key and need not in reasons:
                reasons[need] = f"{by_key[key].label} {by_key[key].name} stands on it"
                waiting.append(need)
    return {key: reason for key, reason in reasons.items() if key in by_key}


def _inhabitants(arm: Arm, workspace: str) -> dict[str, str]:
    """Find computes and endpoints in our workspace that phi3flow did not make."""
    theirs = [
        f"{kind} {each['name']}"
        for kind, collection in (("compute", "computes"), ("endpoint", "onlineEndpoints"))
        for each in arm.list(f"{workspace}/{collection}", ML_VERSION)
        if not is_tagged(each)
    ]
    return {workspace.lower(): f"phi3flow did not make its {', '.join(theirs)}"} if theirs else {}


def _dependents(arm: Arm, settings: AzureSettings, by_key: Iterable[str]) -> dict[str, str]:
    """Find what workspaces of others in the group stand on."""
    keys, reasons = set(by_key), {}
    for workspace in arm.list(settings.id_of("Microsoft.MachineLearningServices", "workspaces"), ML_VERSION):
        if str(workspace["id"]).lower() not in keys and not is_tagged(workspace):
            for used in _texts(workspace.get("properties", {})):
                if used.lower() in keys:
                    reasons[used.lower()] = f"workspace {workspace['name']}, which phi3flow did not make, stands on it"
    return reasons


def _texts(properties: dict[str, Any]) -> list[str]:
    return [value for value in properties.values() if isinstance(value, str)]
