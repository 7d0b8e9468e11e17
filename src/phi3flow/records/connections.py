"""A connection as ``manifest.json`` and ``metrics.json`` may show it."""

from __future__ import annotations

from phi3flow.records.record import Record


class ConnectionUse(Record):
    """A connection's name and its endpoint's host, never a secret."""

    name: str
    host: str | None = None
