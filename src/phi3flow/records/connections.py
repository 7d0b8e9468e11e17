"""A connection as ``manifest.json`` and ``metrics.json`` may show it."""

from __future__ import annotations

from pydantic import Field

from phi3flow.records.record import Record


class ConnectionUse(Record):
    """A connection's name, its endpoint's host, and what it stood for then, never a secret.

    ``endpoint`` is the URL without user and query; ``values`` has the SHA-256, 16 digits of it, of each value that is
    no secret; ``serves`` is what the endpoint said that it serves, None where it does not say.
    """

    name: str
    host: str | None = None
    endpoint: str | None = None
    values: dict[str, str] = Field(default_factory=dict)
    serves: str | None = None

    def changes_since(self, before: ConnectionUse) -> list[str]:
        """Say what the connection stood for ``before`` and does not now, as far as both are known.

        Where an endpoint tells the fingerprint of its weights, and it is the same, another address is no change.
        """
        changes: list[str] = []
        is_same_model = self.serves is not None and self.serves == before.serves and FINGERPRINT in self.serves
        for what in ("serves",) if is_same_model else ("endpoint", "serves"):
            was, is_now = getattr(before, what), getattr(self, what)
            if was and is_now and was != is_now:
                changes.append(f"connection {self.name}'s {_NAMED[what]} was {was}, is {is_now}")
        if before.values and self.values and not changes:
            names = sorted({*before.values, *self.values} - ({*ENDPOINT_FIELDS} if is_same_model else set()))
            other = [name for name in names if before.values.get(name) != self.values.get(name)]
            changes += [f"connection {self.name}'s {name} is another than it was" for name in other]
        return changes


ENDPOINT_FIELDS = ("endpoint", "base_url", "api_base", "azure_endpoint")
"""What connections call their endpoint's URL."""
FINGERPRINT = "(fingerprint "
"""How ``serves`` names the weights of a model, not its name alone."""
_NAMED = {"endpoint": "endpoint", "serves": "model"}
