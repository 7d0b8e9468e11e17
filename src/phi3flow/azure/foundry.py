"""Custom connections of an AI Foundry project, as Prompt flow reads them: endpoint in the clear, key as a secret.

azure-ai-ml's WorkspaceConnection(type="custom") sends authType ApiKey, which Prompt flow cannot read: it takes the
secrets from properties.credentials.keys and the rest from properties.metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from phi3flow.azure.arm import Arm
from phi3flow.azure.inventory import ML_VERSION
from phi3flow.azure.settings import AzureSettings
from phi3flow.errors import ConfigError

_TYPE = {"azureml.flow.connection_type": "Custom", "azureml.flow.module": "promptflow.connections"}


@dataclass(frozen=True)
class ProjectConnection:
    """A custom connection of a project; ``configs`` has the endpoint, ``secrets`` the key."""

    name: str
    configs: Mapping[str, str]
    secrets: Mapping[str, SecretStr]


def read_connection(arm: Arm, settings: AzureSettings, name: str) -> ProjectConnection | None:
    """Return the project's connection with its secrets, None where there is none of the name.

    Raises ConfigError where the project itself is missing.
    """
    project = settings.workspace_id(settings.project)
    if arm.get(project, ML_VERSION) is None:
        raise ConfigError(f"there is no AI Foundry project {settings.project}: `phi3flow azure up` makes it")
    if arm.get(_id(settings, name), ML_VERSION) is None:
        return None
    properties = arm.post(f"{_id(settings, name)}/listsecrets", ML_VERSION).get("properties", {})
    keys = (properties.get("credentials") or {}).get("keys") or {}
    metadata = {key: str(value) for key, value in (properties.get("metadata") or {}).items() if key not in _TYPE}
    return ProjectConnection(name, metadata, {key: SecretStr(str(value)) for key, value in keys.items()})


def write_connection(arm: Arm, settings: AzureSettings, connection: ProjectConnection) -> None:
    """Create or replace the project's connection."""
    properties = {
        "category": "CustomKeys",
        "authType": "CustomKeys",
        "target": connection.configs["endpoint"],
        "credentials": {"keys": {key: secret.get_secret_value() for key, secret in connection.secrets.items()}},
        "metadata": {**connection.configs, **_TYPE},
        "isSharedToAll": True,
    }
    arm.put(_id(settings, connection.name), ML_VERSION, {"properties": properties})


def _id(settings: AzureSettings, name: str) -> str:
    return f"{settings.workspace_id(settings.project)}/connections/{name}"
