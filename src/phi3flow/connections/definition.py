"""A connection as a file, promptflow's store or a workspace defines it, before its values are resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConnectionDefinition:
    """A connection as ``source`` has it: its values may still be ``${env:NAME}``."""

    source: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, str] = field(repr=False)

    @classmethod
    def from_promptflow(cls, entity: Any, source: str) -> ConnectionDefinition:
        """Return what one of promptflow's connection entities defines."""
        fields = entity._to_execution_connection_dict()
        values = {key: str(value) for key, value in fields["value"].items()}
        secrets = {key: values.pop(key) for key in fields["secret_keys"] if key in values}
        return cls(source, fields["type"], values, secrets)


def connect_command(name: str) -> str:
    """Return the command that defines a connection: the way out where it is defined nowhere, or cannot be read."""
    return f"phi3flow connect {name} --endpoint URL --key-env VARIABLE"
