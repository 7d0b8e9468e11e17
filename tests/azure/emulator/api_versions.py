"""Which api-version a request speaks: Microsoft's types of each say what it may hold and is told."""

from __future__ import annotations

from tests.azure.emulator.messages import Request, ServiceError
from tests.azure.emulator.resources import resource_type

SERVERLESS_SINCE = "2024-01-01-preview"
"""The first version with serverless endpoints and marketplace subscriptions as they are today."""
CONTENT_SAFETY_SINCE = "2024-04-01"
"""The first version whose serverless endpoints have ``contentSafety``, and must have ``authMode``."""
FINE_TUNING_SINCE = "2024-07-01-preview"
"""The first preview whose jobs may be of type FineTuning; no version that is not a preview has it."""


def is_since(request: Request, version: str) -> bool:
    """Return whether a request's api-version is that one or a later one."""
    return _order(request.query["api-version"]) >= _order(version)


def check_since(request: Request, version: str) -> None:
    """Raise ServiceError 400 where a request's api-version is too old to know the type of resource that it is about."""
    if not is_since(request, version):
        namespace, _, kind = resource_type(request.path).partition("/")
        raise ServiceError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for API version '{request.query['api-version']}' for type '{kind}' "
            f"of '{namespace}'.",
        )


def knows_fine_tuning(request: Request) -> bool:
    """Return whether a request's api-version knows jobs of type FineTuning."""
    return request.query["api-version"].endswith("-preview") and is_since(request, FINE_TUNING_SINCE)


def _order(version: str) -> tuple[str, bool]:
    return version[:10], not version.endswith("-preview")
