"""The connections that a run takes, remembered: what each stands for, and what its endpoint serves."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import SplitResult, urlunsplit

from phi3flow.connections.connection import find_host, split_url
from phi3flow.connections.public import public_values, secret_keys
from phi3flow.connections.served import find_served
from phi3flow.errors import Phi3flowError
from phi3flow.flows import ConnectionSource, PromptflowConnection
from phi3flow.records.connections import ENDPOINT_FIELDS, ConnectionUse

_KEYS = ("key", "api_key")
_UNTOLD = "AzureOpenAIConnection"  # lists no deployments to who has its key
_DIGITS = 16
_LONGEST_NAME = 20
_AT_ONCE = 8


class KnownConnections:
    """A source of connections that remembers those it gave, and what their endpoints served then."""

    def __init__(self, source: ConnectionSource) -> None:
        self._source = source
        self._given: dict[str, PromptflowConnection] = {}
        self._uses: dict[str, Future[ConnectionUse]] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def __call__(self, name: str) -> PromptflowConnection:
        """Return a connection in promptflow's dict form; see ``ConnectionSource``.

        Its endpoint is asked from now on, while whoever wants it loads the flow.
        """
        self._given[name] = connection = self._source(name)
        if name not in self._uses:
            self._uses[name] = self._pool.submit(describe_use, name, connection)
        return connection

    def uses(self, names: Collection[str]) -> dict[str, ConnectionUse]:
        """Return what those connections stand for now that can be found; each endpoint is asked once."""
        for name in names:
            if name not in self._uses:
                with contextlib.suppress(Phi3flowError):  # a run that needs it will say so
                    self(name)
        return {name: self._uses[name].result() for name in names if name in self._uses}

    def made_of(self) -> dict[str, dict[str, Any]]:
        """Return what each connection that was given stands for, without secrets: what an answer depends on."""
        uses = self.uses(self._given)
        return {
            name: {**public_values(connection), "serves": uses[name].serves} for name, connection in self._given.items()
        }


def describe_use(name: str, connection: PromptflowConnection) -> ConnectionUse:
    """Return what a connection stands for; its endpoint is asked what it serves."""
    values = public_values(connection)
    url = next((values[field] for field in ENDPOINT_FIELDS if values.get(field)), "")
    secrets = secret_keys(connection)
    key = next((str(connection["value"][field]) for field in _KEYS if field in secrets), "")
    parts = split_url(url)
    asks = parts and connection.get("type") != _UNTOLD
    return ConnectionUse(
        name=name,
        host=find_host(values.values()),
        endpoint=_address(parts) if parts else None,
        values={field: hashlib.sha256(value.encode()).hexdigest()[:_DIGITS] for field, value in sorted(values.items())},
        serves=find_served(url, key=key, model=values.get("model")) if asks else None,
    )


def _address(parts: SplitResult) -> str:
    """Return a URL without a user's name, query and fragment, and without what may be a key in its path."""
    path = "/".join(part if len(part) <= _LONGEST_NAME else "…" for part in parts.path.split("/"))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
