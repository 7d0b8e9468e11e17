"""Connections of an AI Foundry project or of the workspace, as Prompt flow reads them: endpoint in the clear, key as a
secret.

azure-ai-ml's WorkspaceConnection(type="custom") sends authType ApiKey, which Prompt flow cannot read: it takes a custom
connection's secrets from properties.credentials.keys and the rest from properties.metadata. Of the other types it takes
the URL from properties.target and the key from properties.credentials.key (promptflow-core,
_workspace_connection_provider.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import ConfigError
from phi3flow.records.connections import ConnectionUse

_TYPE = "azureml.flow.connection_type"
_MODULE = {"azureml.flow.module": "promptflow.connections"}
_CUSTOM = "CustomConnection"
_KEY = "api_key"


class _Category(NamedTuple):
    """What Azure calls a type of Prompt flow's, which field its target is, and what its metadata call the others."""

    name: str
    target: str
    metadata: Mapping[str, str]


_CATEGORIES = {
    _CUSTOM: _Category("CustomKeys", "endpoint", {}),
    "OpenAIConnection": _Category("OpenAI", "base_url", {}),
    "AzureOpenAIConnection": _Category("AzureOpenAI", "api_base", {"api_type": "ApiType", "api_version": "ApiVersion"}),
    "ServerlessConnection": _Category("Serverless", "api_base", {}),
}


@dataclass(frozen=True)
class ProjectConnection:
    """A connection; ``type`` is promptflow's class name, ``configs`` has the endpoint, ``secrets`` the key."""

    name: str
    type: str
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
    return _parse(name, properties)


def _parse(name: str, properties: Mapping[str, Any]) -> ProjectConnection:
    credentials, metadata = properties.get("credentials") or {}, properties.get("metadata") or {}
    types = {category.name: type_ for type_, category in _CATEGORIES.items()}
    type_ = types.get(str(properties.get("category")), str(properties.get("category")))
    if type_ == _CUSTOM or type_ not in _CATEGORIES:
        configs = {key: str(value) for key, value in metadata.items() if key not in {_TYPE, *_MODULE}}
        secrets = credentials.get("keys") or {}
    else:
        category = _CATEGORIES[type_]
        values = {field: metadata.get(azure_name) for field, azure_name in category.metadata.items()}
        values[category.target] = properties.get("target")
        configs = {field: str(value) for field, value in values.items() if value}
        secrets = {_KEY: credentials["key"]} if credentials.get("key") else {}
    return ProjectConnection(name, type_, configs, {key: SecretStr(str(value)) for key, value in secrets.items()})


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
    category = _CATEGORIES[connection.type]
    is_custom = connection.type == _CUSTOM
    secrets = {key: secret.get_secret_value() for key, secret in connection.secrets.items()}
    shown = (
        connection.configs
        if is_custom
        else {azure_name: connection.configs[field] for field, azure_name in category.metadata.items()}
    )
    properties = {
        "category": category.name,
        "authType": "CustomKeys" if is_custom else "ApiKey",
        "target": connection.configs[category.target],
        "credentials": {"keys": secrets} if is_custom else {"key": secrets[_KEY]},
        "metadata": {**shown, _TYPE: connection.type.removesuffix("Connection"), **_MODULE},
        "isSharedToAll": True,
    }
    workspace.arm.put(_id(workspace.settings, owner, connection.name), ML_VERSION, {"properties": properties})


def _id(settings: AzureSettings, owner: str, name: str) -> str:
    return f"{settings.workspace_id(owner)}/connections/{name}"
