"""promptflow's local store of connections, which ``pf`` and VS Code use; it needs a keyring."""

from __future__ import annotations

from typing import Any

from phi3flow.connections.connection import CUSTOM, Connection
from phi3flow.connections.definition import ConnectionDefinition, connect_command
from phi3flow.errors import ConfigError
from phi3flow.project.promptflow_home import promptflow_home, without_telemetry
from phi3flow.text import first_sentence

_DEFAULT_AUTH_MODE = ("auth_mode", "key")  # which promptflow adds where a key may also be a login


def store_in_promptflow(connection: Connection) -> None:
    """Create or replace a connection in promptflow's local store, encrypted with the system's keyring.

    Raises ConfigError with the ways out where there is no keyring, as on a headless machine.
    """
    import promptflow.connections
    from promptflow.client import PFClient

    without_telemetry()
    entity_class = getattr(promptflow.connections, connection.type)
    secrets = {key: secret.get_secret_value() for key, secret in connection.secrets.items()}
    values = {"configs": dict(connection.configs), "secrets": secrets}
    try:
        entity = entity_class(
            name=connection.name, **(values if connection.type == CUSTOM else {**connection.configs, **secrets})
        )
        PFClient().connections.create_or_update(entity)
    except Exception as error:
        raise ConfigError(
            f"promptflow's local store did not take the connection {connection.name} ({first_sentence(error)}). It "
            "needs a keyring. Where there is none: pip install keyrings.alt and set "
            "PYTHON_KEYRING_BACKEND=keyrings.alt.file.PlaintextKeyring, or use --to file, which needs none"
        ) from error


def is_same_in_promptflow(connection: Connection) -> bool:
    """Whether promptflow's local store has the connection as it is; one that cannot be read is another."""
    try:
        stored = find_in_promptflow(connection.name)
    except ConfigError:
        return False
    if stored is None:
        return False
    configs = {key: value for key, value in stored.configs.items() if (key, value) != _DEFAULT_AUTH_MODE}
    secrets = {key: secret.get_secret_value() for key, secret in connection.secrets.items()}
    return (stored.type, configs, stored.secrets) == (connection.type, connection.configs, secrets)


def is_in_promptflow(name: str) -> bool:
    """Whether promptflow's local store has a connection of this name."""
    return _read_promptflow(name, with_secrets=False) is not None


def find_in_promptflow(name: str) -> ConnectionDefinition | None:
    """Return a connection of promptflow's local store, None where it has none of this name.

    Raises ConfigError where it cannot be decrypted: another keyring, or none.
    """
    try:
        entity = _read_promptflow(name, with_secrets=True)
    except Exception as error:
        raise ConfigError(
            f"the connection {name} cannot be read from promptflow's local store ({first_sentence(error)}). It needs "
            f"the keyring it was made with; without one: {connect_command(name)}"
        ) from error
    return None if entity is None else ConnectionDefinition.from_promptflow(entity, f"promptflow's connection {name}")


def _read_promptflow(name: str, *, with_secrets: bool) -> Any:
    """Read promptflow's local store where there is one, without the telemetry of its public way."""
    if not (promptflow_home() / "pf.sqlite").is_file():
        return None
    from promptflow._sdk.operations._connection_operations import ConnectionOperations

    return ConnectionOperations()._get(name, with_secrets=with_secrets, raise_error=False)
