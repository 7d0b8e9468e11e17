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

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import ConfigError
from phi3flow.records.connections import ConnectionUse

_TYPE = {"azureml.flow.connection_type": "Custom", "azureml.flow.module": "promptflow.connections"}


@dataclass(frozen=True)
class ProjectConnection:
    """A custom connection; ``configs`` has the endpoint, ``secrets`` the key."""

    name: str
    configs: Mapping[str, str]
    secrets: Mapping[str, SecretStr]


def read_connection(workspace: Workspace, owner: str, name: str) -> ProjectConnection | None:
    """Return a connection of ``owner`` with its secrets, None where there is none of the name.

    ``owner`` is the name of the settings' workspace or AI Foundry project, here and below. Raises ConfigError where
    the owner itself is missing.
    """
    arm, settings = workspace.arm, workspace.settings
    if arm.get(settings.workspace_id(owner), ML_VERSION) is None:
        kind = "AI Foundry project" if owner == settings.project else "workspace"
        raise ConfigError(f"there is no {kind} {owner}: `phi3flow azure up` makes it")
    connection_id = _id(settings, owner, name)
    if arm.get(connection_id, ML_VERSION) is None:
        return None
    properties = arm.post(f"{connection_id}/listsecrets", ML_VERSION).get("properties", {})
    keys = (properties.get("credentials") or {}).get("keys") or {}
    metadata = {key: str(value) for key, value in (properties.get("metadata") or {}).items() if key not in _TYPE}
    return ProjectConnection(name, metadata, {key: SecretStr(str(value)) for key, value in keys.items()})


def need_hosts(
    workspace: Workspace, owner: str, names: Iterable[str], *, label: str, to: str
) -> dict[str, ConnectionUse]:
    """Return what ``find_host`` finds of each connection.

    Raises ConfigError for one that the owner lacks, whose message names it by ``label``; ``--to`` is how it is made.
    """
    uses = {}
    for name in names:
        use = find_host(workspace, owner, name)
        if use is None:
            raise ConfigError(
                f"{label} has no connection {name}, which the flow needs: "
                f"phi3flow connect {name} --from-deployment --to {to}"
            )
        uses[name] = use
    return uses


def find_host(workspace: Workspace, owner: str, name: str) -> ConnectionUse | None:
    """Return a connection's name and host, None where the owner has none of the name."""
    connection = workspace.arm.get(_id(workspace.settings, owner, name), ML_VERSION)
    if connection is None:
        return None
    properties = connection["properties"]
    url = (properties.get("metadata") or {}).get("endpoint") or properties.get("target") or ""
    return ConnectionUse(name=name, host=urlsplit(str(url)).netloc.rpartition("@")[2] or None)


def write_connection(workspace: Workspace, owner: str, connection: ProjectConnection) -> None:
    """Create or replace a connection of the owner."""
    properties = {
        "category": "CustomKeys",
        "authType": "CustomKeys",
        "target": connection.configs["endpoint"],
        "credentials": {"keys": {key: secret.get_secret_value() for key, secret in connection.secrets.items()}},
        "metadata": {**connection.configs, **_TYPE},
        "isSharedToAll": True,
    }
    workspace.arm.put(_id(workspace.settings, owner, connection.name), ML_VERSION, {"properties": properties})


def _id(settings: AzureSettings, owner: str, name: str) -> str:
    return f"{settings.workspace_id(owner)}/connections/{name}"
