"""Custom connections of an AI Foundry project or of the workspace, as Prompt flow reads them: endpoint in the clear,
key as a secret.

azure-ai-ml's WorkspaceConnection(type="custom") sends authType ApiKey, which Prompt flow cannot read: it takes the
secrets from properties.credentials.keys and the rest from properties.metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.settings import AzureSettings
from phi3flow.errors import ConfigError
from phi3flow.records.connections import ConnectionUse

_TYPE = {"azureml.flow.connection_type": "Custom", "azureml.flow.module": "promptflow.connections"}


@dataclass(frozen=True)
class ProjectConnection:
    """A custom connection; ``configs`` has the endpoint, ``secrets`` the key."""

    name: str
    configs: Mapping[str, str]
    secrets: Mapping[str, SecretStr]


def read_connection(arm: Arm, settings: AzureSettings, place: str, name: str) -> ProjectConnection | None:
    """Return a connection of the project or workspace ``place`` with its secrets, None where there is none of the name.

    Raises ConfigError where the place itself is missing.
    """
    if arm.get(settings.workspace_id(place), ML_VERSION) is None:
        kind = "AI Foundry project" if place == settings.project else "workspace"
        raise ConfigError(f"there is no {kind} {place}: `phi3flow azure up` makes it")
    connection_id = _id(settings, place, name)
    if arm.get(connection_id, ML_VERSION) is None:
        return None
    properties = arm.post(f"{connection_id}/listsecrets", ML_VERSION).get("properties", {})
    keys = (properties.get("credentials") or {}).get("keys") or {}
    metadata = {key: str(value) for key, value in (properties.get("metadata") or {}).items() if key not in _TYPE}
    return ProjectConnection(name, metadata, {key: SecretStr(str(value)) for key, value in keys.items()})


def need_hosts(
    arm: Arm, settings: AzureSettings, workspace: str, names: Iterable[str], *, place: str, to: str
) -> dict[str, ConnectionUse]:
    """Return what ``find_host`` finds of each connection.

    Raises ConfigError for one that ``place``, as a message names the workspace, lacks; ``--to`` is how it is made.
    """
    found = {}
    for name in names:
        use = find_host(arm, settings, workspace, name)
        if use is None:
            raise ConfigError(
                f"{place} has no connection {name}, which the flow needs: "
                f"phi3flow connect {name} --from-deployment --to {to}"
            )
        found[name] = use
    return found


def find_host(arm: Arm, settings: AzureSettings, place: str, name: str) -> ConnectionUse | None:
    """Return a connection's name and host, None where the project or workspace ``place`` has none of the name."""
    found = arm.get(_id(settings, place, name), ML_VERSION)
    if found is None:
        return None
    properties = found["properties"]
    url = (properties.get("metadata") or {}).get("endpoint") or properties.get("target") or ""
    return ConnectionUse(name=name, host=urlsplit(str(url)).netloc.rpartition("@")[2] or None)


def write_connection(arm: Arm, settings: AzureSettings, place: str, connection: ProjectConnection) -> None:
    """Create or replace a connection of the project or workspace ``place``."""
    properties = {
        "category": "CustomKeys",
        "authType": "CustomKeys",
        "target": connection.configs["endpoint"],
        "credentials": {"keys": {key: secret.get_secret_value() for key, secret in connection.secrets.items()}},
        "metadata": {**connection.configs, **_TYPE},
        "isSharedToAll": True,
    }
    arm.put(_id(settings, place, connection.name), ML_VERSION, {"properties": properties})


def _id(settings: AzureSettings, place: str, name: str) -> str:
    return f"{settings.workspace_id(place)}/connections/{name}"
