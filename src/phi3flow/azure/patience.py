"""azure-core's retries, which sleep without a word: what Azure asks to wait is said where it is long."""

from __future__ import annotations

import logging
from typing import Any

from azure.core.pipeline.policies import RetryPolicy

from phi3flow.text import duration

_LOG = logging.getLogger(__name__)
SAID_FROM_S = 20.0
"""A wait of so many seconds is said."""


class SpokenRetryPolicy(RetryPolicy[Any, Any]):
    """Retries as azure-core's policy does."""

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:
        """Say how long it will be, where Azure says so, and wait."""
        wait_s = (self.get_retry_after(response) or 0.0) if response else 0.0
        if wait_s >= SAID_FROM_S:
            path = response.http_request.url.partition("?")[0].rpartition("/providers/")[2]
            _LOG.warning(
                "Azure asks to wait %s before it is asked again (HTTP %d): %s %s",
                duration(wait_s),
                response.http_response.status_code,
                response.http_request.method,
                path,
            )
        super().sleep(settings, transport, response)
