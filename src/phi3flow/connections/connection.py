"""A connection whose values are resolved: a name, a type, values that may be shown, and secrets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from phi3flow.flows import PromptflowConnection

CUSTOM = "CustomConnection"


@dataclass(frozen=True)
class Connection:
    """A connection; ``type`` is promptflow's class name, such as CustomConnection."""

    name: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, SecretStr]

    @property
    def host(self) -> str | None:
        """The host and port of its endpoint: what a manifest or a message may show."""
        return find_host(self.configs.values())

    def to_promptflow(self) -> PromptflowConnection:
        """Return promptflow's dict form, with the secrets in clear: for an executor, never for a file or a log."""
        secrets = {key: secret.get_secret_value() for key, secret in self.secrets.items()}
        return {
            "name": self.name,
            "type": self.type,
            "module": "promptflow.connections",
            "value": {**self.configs, **secrets},
            "secret_keys": list(secrets),
        }


def find_host(values: Iterable[str]) -> str | None:
    """Return the host and port of the first URL among a connection's values, without a user's name; None for none."""
    url = next((value for value in values if value.startswith(("http://", "https://"))), "")
    parts = split_url(url)
    return (parts.netloc.rpartition("@")[2] or None) if parts else None


def split_url(url: str) -> SplitResult | None:
    """Return the parts of an http(s) URL with a host, None of what is none."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None
