"""Which values of a connection in promptflow's dict form are secret, and which may be shown."""

from __future__ import annotations

import json
import re
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

SHORTEST_IN_ANSWERS = 12
"""Characters of a secret that is cut out of whatever a flow gives: what is shorter may be a word of an answer."""
_SHORTEST = 4
_OWN_FIELDS = frozenset({"line_number", "status", "attempts", "latency_ms", "usage", "repeat"})  # none can be a secret
_RECORD_NAMES = frozenset({*LineResult.model_fields, *LineError.model_fields, *LineScore.model_fields, "line"})


def public_values(connection: PromptflowConnection) -> dict[str, str]:
    """Return the values of a connection that are no secrets."""
    secret = secret_keys(connection)
    return {key: str(value) for key, value in connection["value"].items() if key not in secret}


def secret_values(connection: PromptflowConnection) -> list[str]:
    """Return the secrets of a connection that can be told from words: those of four characters and more."""
    values = connection["value"]
    secrets = {str(values.get(key, "")) for key in secret_keys(connection)}
    return [text for secret in sorted(secrets) for text in {secret, secret.strip()} if len(text) >= _SHORTEST]


def describe_weak_key(connection: PromptflowConnection) -> str | None:
    """Say why a connection's secrets cannot be cut out of what is written, or ruin it; None where they do not."""
    for key in secret_keys(connection):
        secret = str(connection["value"].get(key, "")).strip()
        if 0 < len(secret) < SHORTEST_IN_ANSWERS:
            return f"{key} has fewer than {SHORTEST_IN_ANSWERS} characters: where an answer says it, it stays"
        if secret.isalpha():
            return f"{key} is a word: where an answer says it, *** takes its place"
    return None


class Redactor:
    """Cuts the secrets of the connections that an open flow uses out of what leaves its process.

    A secret is found as it is and as JSON, Python or a URL writes it; not where it is taken apart, or encoded anew. One
    of fewer than twelve characters may be a word: it is cut out of errors where it stands alone, and of no answer.
    """

    def __init__(self, session: FlowSession) -> None:
        connections = session.used_connections.values()
        secrets = {secret for connection in connections for secret in secret_values(connection)}
        forms = {form for secret in secrets if len(secret) >= SHORTEST_IN_ANSWERS for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)  # one may be the beginning of another
        self._in_json = {
            json.dumps(form, ensure_ascii=is_ascii)[1:-1].encode() for form in forms for is_ascii in (False, True)
        }
        short = {form for secret in secrets if len(secret) < SHORTEST_IN_ANSWERS for form in _forms(secret)}
        words = "|".join(re.escape(form) for form in sorted(short, key=len, reverse=True))
        self._alone = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])") if words else None
        self._names = _RECORD_NAMES | session.flow.inputs.keys() | (session.flow.definition.get("outputs") or {}).keys()

    def answer(self, text: str) -> str:
        """Return what a flow gave without secrets."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def error(self, text: str) -> str:
        """Return what an error says without secrets."""
        text = self.answer(text)
        return self._alone.sub("***", text) if self._alone else text

    def describe(self, error: BaseException) -> Failure:
        """Return what an exception says, without secrets."""
        return self.failure(describe_failure(error, self.error))

    def failure(self, failure: Failure) -> Failure:
        """Return a failure without secrets in its message."""
        cut = {"type": self.error(failure.error.type), "message": self.error(failure.message)}
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
                key = name if depth < 2 and name in self._names else self.answer(name)
                cut[key if key not in cut else f"{key} ({len(cut)})"] = self._cut(item, depth + 1)
            return cut
        if isinstance(value, list):
            return [self._cut(item, depth + 1) for item in value]
        if isinstance(value, str):
            return self.answer(value)
        is_secret = isinstance(value, int | float) and self.answer(json.dumps(value)) != json.dumps(value)
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
