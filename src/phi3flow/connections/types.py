"""The types of connection that reach a model: what each calls its endpoint and key, and what of a URL it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit

from phi3flow.connections.connection import CUSTOM
from phi3flow.errors import ConfigError

API_VERSION = "2024-10-21"
"""Of Azure OpenAI, where the URL says no other: the last that is no preview."""
_API_VERSION = "api-version"


@dataclass(frozen=True)
class ConnectionType:
    """A type as ``pf`` names it in a file; ``class_name`` is promptflow's, and that of its schema.

    ``left_out`` matches what an endpoint's URL may end in and the type's own URL has not: promptflow adds it.
    """

    name: str
    class_name: str
    url_field: str
    key_field: str = "api_key"
    left_out: str = ""
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> str:
        """The address of the schema that promptflow's files name."""
        return f"https://azuremlschemas.azureedge.net/promptflow/latest/{self.class_name}.schema.json"

    def configs(self, url: str) -> dict[str, str]:
        """Return what is no secret, of an endpoint's URL as a portal shows it.

        Raises ConfigError for a URL of another protocol, and for a query that the type has no place for.
        """
        if self.class_name == CUSTOM:
            return {self.url_field: url}
        parts = urlsplit(url)
        if parts.path.rstrip("/").endswith("/score"):
            raise ConfigError(
                f"--type {self.name}: {parts.path} speaks Azure ML's protocol, which only a custom connection reaches"
            )
        asked_version = parse_qs(parts.query).get(_API_VERSION, [None])[-1]
        if asked_version and "api_version" not in self.constants:
            raise ConfigError(
                f"--type {self.name} has no place for {_API_VERSION}: a URL with it is Azure OpenAI's older route, "
                "which goes with --type azure_open_ai; the route …/openai/v1 has none"
            )
        path = re.sub(self.left_out, "", parts.path.rstrip("/"))
        version = {"api_version": asked_version} if asked_version else {}
        return {self.url_field: urlunsplit(parts._replace(path=path, query="")), **self.constants, **version}


CONNECTION_TYPES = {
    connection_type.name: connection_type
    for connection_type in (
        ConnectionType("custom", CUSTOM, "endpoint", key_field="key"),
        ConnectionType("open_ai", "OpenAIConnection", "base_url", left_out=r"/chat/completions$"),
        ConnectionType(
            "azure_open_ai",
            "AzureOpenAIConnection",
            "api_base",
            left_out=r"/openai(/.*)?$",
            constants={"api_type": "azure", "api_version": API_VERSION},
        ),
        ConnectionType("serverless", "ServerlessConnection", "api_base", left_out=r"(/v1)?(/chat/completions)?$"),
    )
}
