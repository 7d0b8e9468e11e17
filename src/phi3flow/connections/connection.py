"""A connection: a name, a type, values that may be shown, and secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

CUSTOM = "CustomConnection"


@dataclass(frozen=True)
class Connection:
    """A connection whose values are resolved; ``type`` is promptflow's class name, such as CustomConnection."""

    name: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, SecretStr]

    @property
    def host(self) -> str | None:
        """The host and port of its endpoint: what a manifest or a message may show."""
        url = next((value for value in self.configs.values() if value.startswith(("http://", "https://"))), "")
        return urlsplit(url).netloc.rpartition("@")[2] or None

    def to_promptflow(self) -> dict[str, Any]:
        """Return promptflow's dict form, with the secrets in clear: for an executor, never for a file or a log."""
        secrets = {key: secret.get_secret_value() for key, secret in self.secrets.items()}
        return {
            "name": self.name,
            "type": self.type,
            "module": "promptflow.connections",
            "value": {**self.configs, **secrets},
            "secret_keys": list(secrets),
        }


@dataclass(frozen=True)
class _Definition:
    """A connection as it was found at ``source``: its values may still be ``${env:NAME}``."""

    source: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, str]
