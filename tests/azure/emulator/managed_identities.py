"""The ``identity`` of workspaces, clusters and endpoints: system-assigned, user-assigned, or both."""

from __future__ import annotations

import uuid
from typing import Any

from tests.azure.emulator.bodies import bad_argument, need_one_of
from tests.azure.emulator.identity import Identity
from tests.azure.emulator.resources import Resources, resource_type
from tests.azure.emulator.world import TENANT

_SYSTEM, _USER = "SystemAssigned", "UserAssigned"
_TYPES = (_SYSTEM, _USER, f"{_SYSTEM},{_USER}", "None")
_USER_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"


def check_identity(
    given: dict[str, Any], before: dict[str, Any] | None, resources: Resources, *, path: str = "identity"
) -> dict[str, Any]:
    """Return an identity as it is kept; a system-assigned principal that was there ``before`` stays.

    Raises ServiceError 400 for an unknown type, and for user-assigned identities that do not exist.
    """
    without_spaces = {path: {**given, "type": str(given.get("type", "")).replace(" ", "")}}
    kind = need_one_of(without_spaces, f"{path}.type", _TYPES)
    kept: dict[str, Any] = {"type": kind}
    if _SYSTEM in kind:
        kept |= {name: before[name] for name in ("principalId", "tenantId") if before and name in before}
    assigned = given.get("userAssignedIdentities")
    if (_USER in kind) != bool(assigned):
        raise bad_argument(f"'{path}.userAssignedIdentities' goes with the type UserAssigned, not with '{kind}'.")
    if assigned:
        kept["userAssignedIdentities"] = {each: _described(each, resources) for each in assigned}
    return kept


def complete_identity(kept: dict[str, Any], identity: Identity) -> None:
    """Make the principal of a system-assigned identity, unless it is there."""
    if _SYSTEM in kept["type"] and "principalId" not in kept:
        kept |= {"principalId": str(uuid.uuid4()), "tenantId": TENANT}
        identity.add_principal(kept["principalId"])


def _described(identity_id: str, resources: Resources) -> dict[str, Any]:
    found = resources.find(identity_id)
    if found is None or resource_type(identity_id).lower() != _USER_TYPE.lower():
        raise bad_argument(f"The user-assigned identity '{identity_id}' does not exist.")
    return {name: found["properties"][name] for name in ("principalId", "clientId")}
