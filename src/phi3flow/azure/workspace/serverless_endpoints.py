"""Serverless endpoints of an AI Foundry project: a model behind an OpenAI-compatible URL, on machines of Azure's own.

Sent as they stand: azure-ai-ml 1.32's ServerlessEndpoint leaves out authMode, which this version of the API requires,
and contentSafety.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from phi3flow.azure.arm import OnWait, in_transition, writable
from phi3flow.azure.polling import RESOURCE_WAITS, poll
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.workspace import Workspace

SERVERLESS_VERSION = "2024-10-01-preview"
"""The API version that knows fine-tuning jobs and, of an endpoint, content safety."""
_SHOWN_ONLY = frozenset({"endpointState", "inferenceEndpoint", "marketplaceSubscriptionId"})
_PASSING_STATES = frozenset({"Creating", "Deleting", "Suspending", "Reinstating"})
_FILTERED = {True: "Enabled", False: "Disabled"}


class ServerlessEndpoint:
    """An endpoint of a project, by name; what it holds is asked each time."""

    def __init__(self, project: Workspace, name: str) -> None:
        self._arm, self._location = project.arm, project.location
        self.name = name
        self.id = f"{project.id}/serverlessEndpoints/{name}"

    def read(self, *, on_wait: OnWait = lambda _: None) -> dict[str, Any] | None:
        """Return it, None where there is none; one that is being changed is waited for. See ``Arm.put``.

        Its own state may follow later than that of the operation which changed it.
        """
        begun_s = time.monotonic()

        def look() -> tuple[dict[str, Any] | None, float | None]:
            on_wait(time.monotonic() - begun_s)
            return self._arm.look(self.id, SERVERLESS_VERSION)

        return poll(look, until=_is_settled, waits=RESOURCE_WAITS)

    def make(self, model_id: str, tags: Mapping[str, str], *, content_safety: bool, on_wait: OnWait) -> None:
        """Make it for a model, opened by a key. Raises AzureError with what Azure says of one that fails.

        See ``Arm.put`` for ``on_wait``.
        """
        body = {
            "location": self._location,
            "sku": {"name": "Consumption"},
            "tags": {**TAGS, **tags},
            "properties": {
                "authMode": "Key",
                "modelSettings": {"modelId": model_id},
                "contentSafety": {"contentSafetyStatus": _FILTERED[content_safety]},
            },
        }
        self._arm.put(self.id, SERVERLESS_VERSION, body, on_wait=on_wait, is_made=is_online)

    def filter(self, existing: Mapping[str, Any], *, content_safety: bool, on_wait: OnWait) -> None:
        """Switch content safety of an ``existing`` endpoint, and change nothing else."""
        body = writable(existing, _SHOWN_ONLY)
        body["properties"]["contentSafety"] = {"contentSafetyStatus": _FILTERED[content_safety]}
        self._arm.put(self.id, SERVERLESS_VERSION, body, on_wait=on_wait)

    def key(self) -> SecretStr:
        """Return its first key; either works."""
        keys = self._arm.post(f"{self.id}/listKeys", SERVERLESS_VERSION)
        return SecretStr(str(keys["primaryKey"]))

    def delete(self, *, on_wait: OnWait = lambda _: None) -> None:
        """Delete it, and wait until it is gone. See ``Arm.delete`` for ``on_wait``."""
        self._arm.delete(self.id, SERVERLESS_VERSION, on_wait=on_wait)


def _is_settled(endpoint: Mapping[str, Any] | None) -> bool:
    return endpoint is None or not (in_transition(endpoint) or state_of(endpoint) in _PASSING_STATES)


def list_serverless(project: Workspace) -> list[dict[str, Any]]:
    """Return every serverless endpoint of a project, whoever made it."""
    return list(project.arm.list(f"{project.id}/serverlessEndpoints", SERVERLESS_VERSION))


def is_online(endpoint: Mapping[str, Any] | None) -> bool:
    """Whether an endpoint is there and answers."""
    return endpoint is not None and state_of(endpoint) == "Online"


def state_of(endpoint: Mapping[str, Any]) -> str:
    """Return how an endpoint fares, as Azure calls it."""
    return str(endpoint["properties"].get("endpointState"))


def has_failed(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint could not be made; one that answers and could not be changed has not."""
    has_ended = endpoint["properties"].get("provisioningState") == "Failed"
    return "Failed" in state_of(endpoint) or (has_ended and not is_online(endpoint))


def is_filtered(endpoint: Mapping[str, Any]) -> bool:
    """Whether content safety looks at an endpoint's questions and answers, as it does unless it is told not to."""
    return (endpoint["properties"].get("contentSafety") or {}).get("contentSafetyStatus") != _FILTERED[False]


def model_of(endpoint: Mapping[str, Any]) -> str:
    """Return the id of the model that an endpoint serves."""
    return str((endpoint["properties"].get("modelSettings") or {}).get("modelId") or "")


def base_url(endpoint: Mapping[str, Any]) -> str | None:
    """Return the base of an endpoint's OpenAI-compatible routes, None before it has one."""
    uri = (endpoint["properties"].get("inferenceEndpoint") or {}).get("uri")
    return f"{str(uri).rstrip('/')}/v1" if uri else None
