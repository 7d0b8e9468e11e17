"""Where Azure OpenAI lies in the resource manager, and which versions of its API there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import Resources
from tests.azure.emulator.routing import Router

PROVIDER = "Microsoft.CognitiveServices"
TYPE = f"{PROVIDER}/accounts"
SUBSCRIPTION_PATH = "/subscriptions/{subscription}"
ACCOUNTS = f"{SUBSCRIPTION_PATH}/resourceGroups/{{group}}/providers/{TYPE}"
ACCOUNT = f"{ACCOUNTS}/{{account}}"
LOCATION = f"{SUBSCRIPTION_PATH}/providers/{PROVIDER}/locations/{{location}}"
VERSIONS = (
    *("2023-05-01", "2024-04-01-preview", "2024-10-01", "2025-04-01-preview", "2025-06-01"),
    *("2025-07-01-preview", "2025-09-01"),
)


def add_route(router: Router, method: str, path: str, handler: Callable[..., Reply]) -> None:
    """Register a handler for the versions that the provider has: those of the data plane, 2024-10-21, are refused."""

    def handle(request: Request, **segments: str) -> Reply:
        version = request.query["api-version"]
        if version not in VERSIONS:
            message = f"The api-version '{version}' is invalid. The supported versions are '{','.join(VERSIONS)}'."
            raise ServiceError(400, "InvalidApiVersionParameter", message)
        return handler(request, **segments)

    router.add(method, path, handle)


def need_account(resources: Resources, path: str) -> dict[str, Any]:
    """Return the account that a path lies in. Raises ServiceError 404."""
    return resources.need("/".join(path.split("/")[:9]))


def bad_properties(message: str) -> ServiceError:
    """Return the refusal of a property's value."""
    return ServiceError(400, "InvalidResourceProperties", message)
