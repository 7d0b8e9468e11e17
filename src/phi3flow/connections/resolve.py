"""Look a connection up by its name, and resolve its values.

A value ``${env:NAME}`` is read from the environment, then from the .env file beside the connections folder. Keys are
held as SecretStr; they leave it only in ``Connection.to_promptflow`` and into promptflow's own encrypted store.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from phi3flow.connections.azure_workspace import find_in_workspace
from phi3flow.connections.connection import CUSTOM, Connection
from phi3flow.connections.definition import connect_command
from phi3flow.connections.files import find_in_files
from phi3flow.connections.promptflow_store import find_in_promptflow
from phi3flow.connections.public import describe_weak_key
from phi3flow.errors import ConfigError
from phi3flow.flows import ConnectionSource, PromptflowConnection
from phi3flow.project.environment import project_environment
from phi3flow.project.paths import CONNECTIONS

_LOG = logging.getLogger(__name__)

_ENV_REFERENCE = re.compile(r"^\$\{env:([^{}]+)\}$")
_PLACEHOLDER = re.compile(r"^<[^<>]*>$")


def resolve_connection(name: str, *, folder: Path = CONNECTIONS) -> Connection:
    """Find a connection by its name; .env and the workspace's config.json are looked for from ``folder``'s parent.

    Raises ConfigError that names file, key and variable where a value is missing or still a placeholder, or where no
    connection has the name; MissingExtraError and BackendError where the Azure workspace cannot be asked.
    """
    folder = folder.absolute()
    files = find_in_files(name, folder)
    definition = files.connection or find_in_promptflow(name) or find_in_workspace(name, folder.parent)
    if definition is None:
        others = "".join(f"; {reason}" for reason in files.not_understood)
        raise ConfigError(
            f"there is no connection {name!r} in {folder} (it has {', '.join(sorted(files.names)) or 'none'}{others}), "
            f"in promptflow's local store or in an Azure workspace: {connect_command(name)}"
        )
    environment = project_environment(folder.parent)
    configs_at, secrets_at = ("configs.", "secrets.") if definition.type == CUSTOM else ("", "")

    def expand(key: str, value: str) -> str:
        return _expand(f"{definition.source}: {key}", value, environment)

    return Connection(
        name=name,
        type=definition.type,
        configs={key: expand(configs_at + key, value) for key, value in definition.configs.items() if value},
        secrets={key: SecretStr(expand(secrets_at + key, value)) for key, value in definition.secrets.items()},
    )


def connection_source(folder: Path = CONNECTIONS) -> ConnectionSource:
    """Return what an open flow takes its connections from.

    The folder is looked for from where the command runs now: while a flow is open, its own folder is the working one.
    """
    folder, known = folder.resolve(), set[str]()

    def find(name: str) -> PromptflowConnection:
        connection = resolve_connection(name, folder=folder).to_promptflow()
        if name not in known and (weakness := describe_weak_key(connection)):
            _LOG.warning("warning: connection %s: its %s", name, weakness)
        known.add(name)
        return connection

    return find


def read_variable(name: str, *, folder: Path = CONNECTIONS) -> SecretStr:
    """Return an environment variable, else .env's. Raises ConfigError where neither has it."""
    environment = project_environment(folder.absolute().parent)
    return SecretStr(_expand(name, f"${{env:{name}}}", environment))


def _expand(where: str, value: str, environment: Mapping[str, str]) -> str:
    reference = _ENV_REFERENCE.match(value.strip())
    if reference:
        variable = reference.group(1)
        value = environment.get(variable, "")
        if not value:
            raise ConfigError(
                f"{where}: the environment variable {variable} is not set: export it, or put it into .env"
            )
    elif "${" in value:
        raise ConfigError(f"{where}: ${{env:NAME}} must be the whole value")
    if not value or _PLACEHOLDER.match(value.strip()):
        raise ConfigError(f"{where}: is still a placeholder: give it a value, or ${{env:NAME}}")
    return value.strip()
