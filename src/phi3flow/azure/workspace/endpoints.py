"""Online endpoints and their deployments in Azure Machine Learning: state, keys, traffic, logs, deletion."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from phi3flow.azure.arm import ML_VERSION, OnWait, writable
from phi3flow.azure.tags import TAGS, is_tagged
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ConfigError

LOG_LINES = 100
_AT_ONCE = 8
_SHOWN_ONLY = frozenset({"scoringUri", "swaggerUri"})


class OnlineEndpoint:
    """An endpoint of a workspace, by name; what it holds is asked each time."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._arm, self._settings, self._location = workspace.arm, workspace.settings, workspace.location
        self.name = name
        self.id = f"{workspace.id}/onlineEndpoints/{name}"

    def read(self) -> dict[str, Any] | None:
        """Return it, None where there is none; one that is being changed is waited for."""
        return self._arm.settle(self.id, ML_VERSION)

    def create(self, *, on_wait: OnWait) -> dict[str, Any]:
        """Make it where it is missing: it is opened with a key, and acts as the settings' identity.

        One that failed is put again, with all that was read of it. See ``Arm.put`` for ``on_wait``.
        """
        existing = self._arm.settle(self.id, ML_VERSION, on_wait=on_wait)
        if existing is not None and existing["properties"].get("provisioningState") == "Succeeded":
            return existing
        kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
        identity = self._settings.id_of(kind, self._settings.identity)
        body = {
            "location": self._location,
            "tags": TAGS,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
            "properties": {"authMode": "Key"},
        }
        return self._arm.put(
            self.id, ML_VERSION, writable(existing, _SHOWN_ONLY) if existing else body, on_wait=on_wait
        )

    def key(self) -> SecretStr:
        """Return its first key; either works."""
        keys = self._arm.post(f"{self.id}/listKeys", ML_VERSION)
        return SecretStr(str(keys["primaryKey"]))

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Return one as it stands, None where there is none."""
        return self._arm.get(self._deployment_id(name), ML_VERSION)

    def settled_deployment(self, name: str, *, on_wait: OnWait) -> dict[str, Any] | None:
        """Return one once nothing is changed of it, None where there is none; one that is being made as it stands."""
        existing = self.deployment(name)
        if existing is None or existing["properties"].get("provisioningState") == "Creating":
            return existing
        return self._arm.settle(self._deployment_id(name), ML_VERSION, on_wait=on_wait)

    def make_deployment(self, name: str, body: Mapping[str, Any], *, on_wait: OnWait) -> None:
        """Make a deployment, or wait for one that is being made, unless it is there; one that failed is deleted first.

        Raises AzureError with what Azure says of one that fails. See ``Arm.put`` for ``on_wait``.
        """
        existing = self._arm.settle(self._deployment_id(name), ML_VERSION, on_wait=on_wait)
        if existing is not None and not has_succeeded(existing):
            self.delete_deployment(name)
        if not has_succeeded(existing):
            self._arm.put(self._deployment_id(name), ML_VERSION, body, on_wait=on_wait, is_made=has_succeeded)

    def scale(self, name: str, existing: Mapping[str, Any], instances: int) -> None:
        """Give an ``existing`` deployment another number of instances, and change nothing else."""
        body = {"sku": {**existing["sku"], "capacity": instances}}
        self._arm.patch(self._deployment_id(name), ML_VERSION, body)

    def delete_deployment(self, name: str, *, on_wait: OnWait = lambda _: None) -> None:
        """Delete a deployment. Raises ConfigError while it has traffic, of the endpoint's or mirrored.

        ``on_wait`` is told how long Azure has been at something else with it, and may raise.
        """
        endpoint = self.read()
        for kind, key, flag in (("traffic",) * 3, ("mirrored traffic", "mirrorTraffic", "mirror-traffic")):
            shares = _shares(endpoint, key)
            if name in shares:
                command = self._az("update", f"--{flag} {name}=0")
                raise ConfigError(
                    f"deployment {name} of endpoint {self.name} has {shares[name]} % of the {kind}: deploy another "
                    f"version with --traffic 100 first, or `{command}`, or delete the whole endpoint"
                )
        self._arm.delete(self._deployment_id(name), ML_VERSION, on_wait=on_wait)

    def traffic(self) -> dict[str, int]:
        """Return the percentage of the traffic that each deployment gets, of those that get any."""
        return _shares(self.read(), "traffic")

    def route(self, traffic: Mapping[str, int]) -> None:
        """Distribute the traffic anew, and change nothing else; nothing is sent where it is so already."""
        endpoint = self.read()
        if endpoint is None:
            raise AzureError(f"endpoint {self.name} is gone")
        shares = {name: share for name, share in traffic.items() if share}
        if shares == _shares(endpoint, "traffic"):
            return
        body = writable(endpoint, _SHOWN_ONLY)
        body["properties"]["traffic"] = shares
        self._arm.put(self.id, ML_VERSION, body)

    def logs(self, deployment: str) -> str:
        """Return the end of a deployment's log."""
        body = {"containerType": "InferenceServer", "tail": LOG_LINES}
        answer = self._arm.post(f"{self._deployment_id(deployment)}/getLogs", ML_VERSION, body)
        return str(answer.get("content", ""))

    def delete(self, *, on_wait: OnWait = lambda _: None) -> None:
        """Delete it with all its deployments; one that is gone is no error. ``on_wait``: see ``delete_deployment``."""
        self._arm.delete(self.id, ML_VERSION, on_wait=on_wait)

    @property
    def deletion_command(self) -> str:
        """What a person types to delete it with everything in it, whoever made it."""
        return self._az("delete", "--yes")

    def _az(self, verb: str, arguments: str) -> str:
        return f"az ml online-endpoint {verb} --name {self.name} {self._settings.az_workspace} {arguments}"

    def _deployment_id(self, name: str) -> str:
        return f"{self.id}/deployments/{name}"


@dataclass(frozen=True)
class ListedEndpoint:
    """An endpoint of a workspace and its deployments by name, as Azure lists them."""

    resource: Mapping[str, Any]
    deployments: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return str(self.resource["name"])

    @property
    def is_ours(self) -> bool:
        """Whether phi3flow made the endpoint."""
        return is_tagged(self.resource)

    @property
    def own(self) -> list[str]:
        """The deployments in it that phi3flow made, whoever typed it."""
        return [name for name, deployment in self.deployments.items() if is_tagged(deployment)]

    @property
    def has_ours(self) -> bool:
        """Whether phi3flow made the endpoint, or a deployment in it."""
        return self.is_ours or bool(self.own)

    @property
    def foreign(self) -> list[str]:
        """The deployments in it that phi3flow did not make."""
        return [name for name in self.deployments if name not in self.own]


def list_endpoints(workspace: Workspace) -> list[ListedEndpoint]:
    """Return every endpoint of the workspace with its deployments; none where there is no workspace."""
    arm = workspace.arm
    endpoints = list(arm.list(f"{workspace.id}/onlineEndpoints", ML_VERSION))

    def look(endpoint: Mapping[str, Any]) -> ListedEndpoint:
        rows = arm.list(f"{endpoint['id']}/deployments", ML_VERSION)
        return ListedEndpoint(endpoint, {str(row["name"]): row for row in rows})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, endpoints))


def list_own(workspace: Workspace) -> list[ListedEndpoint]:
    """Return the endpoints that phi3flow made, and those of others in which it made a deployment."""
    return [endpoint for endpoint in list_endpoints(workspace) if endpoint.has_ours]


def has_succeeded(resource: Mapping[str, Any] | None) -> bool:
    """Whether a resource is there and was made without an error."""
    return resource is not None and resource["properties"].get("provisioningState") == "Succeeded"


def _shares(endpoint: Mapping[str, Any] | None, key: str) -> dict[str, int]:
    """Return the deployments that get a share of an endpoint's ``traffic`` or ``mirrorTraffic``, in percent."""
    shares = ((endpoint or {}).get("properties") or {}).get(key) or {}
    return {str(name): int(share) for name, share in shares.items() if share}


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
