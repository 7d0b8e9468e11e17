"""Which values of a connection in promptflow's dict form are secret, and which may be shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

from phi3flow.connections.connection import find_host
from phi3flow.flows import FlowSession, PromptflowConnection
from phi3flow.pacing.failures import Failure, describe_failure
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.scores import LineScore

_SHORTEST_SECRET = 6
_OWN_FIELDS = frozenset({"line_number", "status", "attempts", "latency_ms", "usage", "repeat"})  # none can be a secret
_RECORD_NAMES = frozenset({*LineResult.model_fields, *LineError.model_fields, *LineScore.model_fields, "line"})


def public_values(connection: PromptflowConnection) -> dict[str, str]:
    """Return the values of a connection that are no secrets."""
    secret = secret_keys(connection)
    return {key: str(value) for key, value in connection["value"].items() if key not in secret}


def secret_values(connection: PromptflowConnection) -> list[str]:
    """Return the secrets that are long enough to be cut out of a text without spoiling it."""
    values = connection["value"]
    return [str(values[key]) for key in secret_keys(connection) if len(str(values.get(key, ""))) >= _SHORTEST_SECRET]


class Redactor:
    """Cuts the secrets of the connections that an open flow uses out of what leaves its process.

    A secret is found as it is and as JSON, Python or a URL writes it; not where it is taken apart, or encoded anew.
    """

    def __init__(self, session: FlowSession) -> None:
        connections = session.used_connections.values()
        secrets = {secret for connection in connections for secret in secret_values(connection)}
        stripped = {secret.strip() for secret in secrets if len(secret.strip()) >= _SHORTEST_SECRET}
        forms = {form for secret in secrets | stripped for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)  # one may be the beginning of another
        self._in_json = {
            json.dumps(form, ensure_ascii=is_ascii)[1:-1].encode() for form in forms for is_ascii in (False, True)
        }
        self._names = _RECORD_NAMES | session.flow.inputs.keys() | (session.flow.definition.get("outputs") or {}).keys()

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def describe(self, error: BaseException) -> Failure:
        """Return what an exception says, without secrets."""
        return self.failure(describe_failure(error, self.text))

    def failure(self, failure: Failure) -> Failure:
        """Return a failure without secrets in its message."""
        cut = {"type": self.text(failure.error.type), "message": self.text(failure.message)}
        return replace(failure, error=failure.error.model_copy(update=cut))

    def json(self, content: bytes) -> bytes:
        """Return a JSON object in UTF-8 without the secrets that stand in its texts, keys and numbers.

        What the record is made of stays: the names of its fields, and of the flow's inputs and outputs.
        """
        if not any(secret in content for secret in self._in_json):
            return content
        record = json.loads(content)
        if not isinstance(record, dict):
            return _encode(self._cut(record, depth=0))
        own = {name: value for name, value in record.items() if name in _OWN_FIELDS}
        end = b"\n" if content.endswith(b"\n") else b""
        return _encode({**self._cut(record, depth=0), **own}) + end

    def _cut(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            cut: dict[str, Any] = {}
            for name, item in value.items():
                key = name if depth < 2 and name in self._names else self.text(name)
                cut[key if key not in cut else f"{key} ({len(cut)})"] = self._cut(item, depth + 1)
            return cut
        if isinstance(value, list):
            return [self._cut(item, depth + 1) for item in value]
        if isinstance(value, str):
            return self.text(value)
        is_secret = isinstance(value, int | float) and self.text(json.dumps(value)) != json.dumps(value)
        return "***" if is_secret else value


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as it stands in JSON, in Python and in a URL."""
    yield from (secret, repr(secret)[1:-1])
    yield from (quote(secret, safe=safe, errors="replace") for safe in ("", "/"))
    yield quote_plus(secret, errors="replace")
    for is_ascii in (False, True):
        once = json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
        yield from (once, json.dumps(once)[1:-1])  # a body in JSON, in another


def connection_uses(session: FlowSession) -> dict[str, ConnectionUse]:
    """Return the connections that an open flow uses: their names and hosts."""
    return {
        name: ConnectionUse(name=name, host=find_host(public_values(connection).values()))
        for name, connection in session.used_connections.items()
    }


def secret_keys(connection: PromptflowConnection) -> list[str]:
    """Return the names of a connection's secret values."""
    return list(connection.get("secret_keys") or ["api_key"])
