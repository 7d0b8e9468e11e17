"""Azure tokens for Azure Resource Manager and the evaluation service."""

import asyncio
import os
import threading
import time
from functools import cache
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from content_safety_client import SafetyServiceError
from content_safety_http import quoted


class Credential:
    """The credential that promptflow-evals is given: AZURE_MANAGEMENT_TOKEN, else azure.identity's default one.

    A token is kept until five minutes before it ends: the Azure CLI's takes a second to get.
    """

    def __init__(self, management_endpoint: str) -> None:
        self._scope = f"{management_endpoint}/.default"
        self._source: DefaultAzureCredential | None = None
        self._kept: AccessToken | None = None
        self._lock = threading.Lock()

    async def token(self) -> str:
        """Return a token without holding up the event loop."""
        if self._is_fresh():
            return self._kept.token
        return (await asyncio.to_thread(self.get_token)).token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """Return an azure.core AccessToken for the management endpoint, whatever scope is asked for."""
        token = os.environ.get("AZURE_MANAGEMENT_TOKEN", "").strip()
        if token:
            return AccessToken(token, int(time.time()) + 3600)
        with self._lock:
            if not self._is_fresh():
                self._kept = self._ask()
            return self._kept

    def _is_fresh(self) -> bool:
        return self._kept is not None and self._kept.expires_on - time.time() > 300

    def _ask(self) -> AccessToken:
        if self._source is None:
            self._source = DefaultAzureCredential()
        try:
            return self._source.get_token(self._scope)
        except AzureError as error:
            raise SafetyServiceError(
                f"there is no Azure identity: az login, or set AZURE_MANAGEMENT_TOKEN{quoted(str(error))}"
            ) from error


@cache
def credential_for(management_endpoint: str) -> Credential:
    """Return the process's one credential for a cloud: Prompt flow may make an event loop for each line."""
    return Credential(management_endpoint)
