"""azure-core's retries sleep without a word: what Azure asks to wait is said where it is long."""

from __future__ import annotations

import logging
from typing import Any

from azure.core.pipeline.policies import RetryPolicy

from phi3flow.text import duration

_LOG = logging.getLogger(__name__)
SAID_FROM_S = 20.0
"""A wait of so many seconds is said."""
_REFUSED_FROM = 400
"""The lowest status of a refusal; an answer below it may ask to wait as well, before the next look at an operation."""


class SpokenRetryPolicy(RetryPolicy[Any, Any]):
    """Retries as azure-core's policy does."""

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:
        """Say how long it will be, where Azure says so, and wait."""
        if response:
            say_wait(response)
        super().sleep(settings, transport, response)


def say_wait(response: Any) -> None:
    """Say how long a refusal asks to wait, of azure-core's response, where that is long."""
    status = response.http_response.status_code
    wait_s = RetryPolicy[Any, Any]().get_retry_after(response) or 0.0
    if status >= _REFUSED_FROM and wait_s >= SAID_FROM_S:
        path = response.http_request.url.partition("?")[0].rpartition("/providers/")[2]
        _LOG.warning(
            "Azure asks to wait %s before it is asked again (HTTP %d): %s %s",
            duration(wait_s),
            status,
            response.http_request.method,
            path,
        )
