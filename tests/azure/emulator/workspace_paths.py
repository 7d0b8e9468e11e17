"""Where workspaces are, for every service whose resources lie in one."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.messages import ServiceError
from tests.azure.emulator.resources import Resources, resource_type

PROVIDER = "Microsoft.MachineLearningServices"
TYPE = f"{PROVIDER}/workspaces"
WORKSPACES = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{TYPE}"


def need_workspace(resources: Resources, path: str, *, action: str) -> dict[str, Any]:
    """Return the workspace that a path lies in; ``action`` is read, write, delete or such.

    Raises ServiceError 404 where the workspace or its group is missing, and 409 for a write into a workspace that is
    being made or deleted.
    """
    group_id, workspace_id = "/".join(path.split("/")[:5]), "/".join(path.split("/")[:9])
    if group_id not in resources:
        name = group_id.rpartition("/")[2]
        raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    found = resources.find(workspace_id)
    if found is None:
        kind = resource_type(path).removeprefix(f"{PROVIDER}/")
        raise ServiceError(
            404,
            "ParentResourceNotFound",
            f"Failed to perform '{action}' on resource(s) of type '{kind}', because the parent resource "
            f"'{workspace_id}' could not be found.",
        )
    state = found["properties"]["provisioningState"]
    if action == "write" and state in ("Creating", "Deleting", "Failed"):
        raise ServiceError(409, "Conflict", f"The workspace '{workspace_id}' is in state {state}.")
    return found
