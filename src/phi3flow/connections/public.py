"""Which values of a connection in promptflow's dict form are secret, and which may be shown."""

from __future__ import annotations

import json
from dataclasses import replace

from phi3flow.connections.connection import find_host
from phi3flow.flows import FlowSession, PromptflowConnection
from phi3flow.pacing.failures import Failure
from phi3flow.records.connections import ConnectionUse

_SHORTEST_SECRET = 6


def public_values(connection: PromptflowConnection) -> dict[str, str]:
    """Return the values of a connection that are no secrets."""
    secret = _secret_keys(connection)
    return {key: str(value) for key, value in connection["value"].items() if key not in secret}


def secret_values(connection: PromptflowConnection) -> list[str]:
    """Return the secrets that are long enough to be cut out of a text without spoiling it."""
    values = connection["value"]
    return [str(values[key]) for key in _secret_keys(connection) if len(str(values.get(key, ""))) >= _SHORTEST_SECRET]


class Redactor:
    """Cuts the secrets of the connections that an open flow uses out of what leaves its process."""

    def __init__(self, session: FlowSession) -> None:
        connections = session.used_connections.values()
        self._secrets = [secret for connection in connections for secret in secret_values(connection)]
        self._in_json = [json.dumps(secret, ensure_ascii=False)[1:-1].encode() for secret in self._secrets]

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def failure(self, failure: Failure) -> Failure:
        """Return a failure without secrets in its message."""
        return replace(failure, error=failure.error.model_copy(update={"message": self.text(failure.message)}))

    def json(self, content: bytes) -> bytes:
        """Return JSON in UTF-8 without the secrets that stand in its texts."""
        for secret in self._in_json:
            content = content.replace(secret, b"***")
        return content


def connection_uses(session: FlowSession) -> dict[str, ConnectionUse]:
    """Return the connections that an open flow uses: their names and hosts."""
    return {
        name: ConnectionUse(name=name, host=find_host(public_values(connection).values()))
        for name, connection in session.used_connections.items()
    }


def _secret_keys(connection: PromptflowConnection) -> list[str]:
    return list(connection.get("secret_keys") or ["api_key"])
