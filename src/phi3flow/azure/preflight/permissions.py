"""What the caller may do at a scope, by the permissions that Azure lists for the caller."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phi3flow.azure.arm import Arm
from phi3flow.azure.foundation.resources import ROLES_VERSION
from phi3flow.errors import ForbiddenError

Permissions = Sequence[Mapping[str, Any]]
"""As Azure lists them: a mapping a role, with the patterns of what it allows and does not."""


def list_permissions(arm: Arm, scope: str) -> Permissions:
    """Return what the caller's roles at a scope, and above it, allow."""
    return list(arm.list(f"{scope}/providers/Microsoft.Authorization/permissions", ROLES_VERSION))


def may(action: str, permissions: Permissions, *, data: bool = False) -> bool:
    """Whether an action is allowed; ``data``: one on what is in a resource, not on the resource."""
    allowed, refused = ("dataActions", "notDataActions") if data else ("actions", "notActions")

    def matches(patterns: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)

    return any(matches(grant.get(allowed, ())) and not matches(grant.get(refused, ())) for grant in permissions)


def refused_actions(arm: Arm, scope: str, actions: Iterable[str], *, data: bool = False) -> list[str]:
    """Return those actions that the caller may not do at a scope.

    None where the caller may not see the roles there, and learns it from Azure's refusal.
    """
    try:
        permissions = list_permissions(arm, scope)
    except ForbiddenError:
        return []
    return [action for action in actions if not may(action, permissions, data=data)]
