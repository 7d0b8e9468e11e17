"""Online endpoints and their deployments in Azure Machine Learning: state, keys, traffic, logs, deletion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.tags import TAGS, is_tagged
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ConfigError

LOG_LINES = 100


class OnlineEndpoint:
    """An endpoint of a workspace, by name; what it holds is asked each time."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._arm, self._settings = workspace.arm, workspace.settings
        self.name = name
        self.id = f"{workspace.id}/onlineEndpoints/{name}"

    def read(self) -> dict[str, Any] | None:
        """Return it, None where there is none; one that is being changed is waited for."""
        return self._arm.settle(self.id, ML_VERSION)

    def create(self, tags: Mapping[str, str]) -> dict[str, Any]:
        """Make it where it is missing: it is opened with a key, and acts as the settings' identity."""
        existing = self.read()
        if existing is not None and existing["properties"].get("provisioningState") == "Succeeded":
            return existing
        kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
        identity = self._settings.id_of(kind, self._settings.identity)
        body = {
            "location": self._settings.location,
            "tags": {**TAGS, **tags},
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
            "properties": {"authMode": "Key"},
        }
        return self._arm.put(self.id, ML_VERSION, body)

    def key(self) -> SecretStr:
        """Return its first key; either works."""
        keys = self._arm.post(f"{self.id}/listKeys", ML_VERSION)
        return SecretStr(str(keys["primaryKey"]))

    def deployments(self) -> dict[str, dict[str, Any]]:
        """Return its deployments by name."""
        return {str(row["name"]): row for row in self._arm.list(f"{self.id}/deployments", ML_VERSION)}

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Return one, None where there is none; one that is being changed is waited for."""
        return self._arm.settle(f"{self.id}/deployments/{name}", ML_VERSION)

    def delete_deployment(self, name: str) -> None:
        """Delete a deployment. Raises ConfigError while it has traffic."""
        share = self.traffic().get(name, 0)
        if share:
            raise ConfigError(
                f"deployment {name} of endpoint {self.name} has {share} % of the traffic: deploy another version with "
                "--traffic 100 first, or delete the whole endpoint"
            )
        self._arm.delete(f"{self.id}/deployments/{name}", ML_VERSION)

    def traffic(self) -> dict[str, int]:
        """Return the percentage of the traffic that each deployment gets, of those that get any."""
        shares = ((self.read() or {}).get("properties") or {}).get("traffic") or {}
        return {str(name): int(share) for name, share in shares.items() if share}

    def route(self, traffic: Mapping[str, int]) -> None:
        """Distribute the traffic anew; nothing is sent where it is so already."""
        endpoint = self.read()
        if endpoint is None:
            raise AzureError(f"endpoint {self.name} is gone")
        shares = {name: share for name, share in traffic.items() if share}
        if shares == self.traffic():
            return
        kept = {key: endpoint[key] for key in ("location", "tags", "kind", "sku") if endpoint.get(key)}
        identity = endpoint.get("identity") or {}
        owned: dict[str, dict[str, Any]] = {
            identity_id: {} for identity_id in identity.get("userAssignedIdentities") or {}
        }
        body = {
            **kept,
            "identity": {"type": identity.get("type"), **({"userAssignedIdentities": owned} if owned else {})},
            "properties": {"authMode": endpoint["properties"]["authMode"], "traffic": shares},
        }
        self._arm.put(self.id, ML_VERSION, body)

    def logs(self, deployment: str) -> str:
        """Return the end of a deployment's log."""
        body = {"containerType": "InferenceServer", "tail": LOG_LINES}
        answer = self._arm.post(f"{self.id}/deployments/{deployment}/getLogs", ML_VERSION, body)
        return str(answer.get("content", ""))

    def delete(self) -> None:
        """Delete it with all its deployments; one that is gone is no error."""
        self._arm.delete(self.id, ML_VERSION)


def list_own(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the workspace's endpoints that phi3flow made, whoever typed it; none where there is no workspace."""
    endpoints = workspace.arm.list(f"{workspace.id}/onlineEndpoints", ML_VERSION)
    return [endpoint for endpoint in endpoints if is_tagged(endpoint)]


def shift_traffic(now: Mapping[str, int], newcomer: str, share: int) -> dict[str, int]:
    """Return the traffic with ``share`` percent to one deployment, the rest to the others in proportion.

    The sum is 100, as the service demands, unless nobody is left to take the rest: then it is all the newcomer's, or
    nobody's where ``share`` is 0.
    """
    rivals = {name: percent for name, percent in now.items() if name != newcomer and percent > 0}
    total = sum(rivals.values())
    if not total:
        return {newcomer: 100} if share else {}
    scaled = {name: percent * (100 - share) / total for name, percent in rivals.items()}
    shares = {name: int(value) for name, value in scaled.items()}
    by_remainder = sorted(scaled, key=lambda name: (shares[name] - scaled[name], name))
    for name in by_remainder[: 100 - share - sum(shares.values())]:
        shares[name] += 1
    return {newcomer: share, **shares}
