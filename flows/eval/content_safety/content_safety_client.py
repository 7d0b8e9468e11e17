"""The HTTP client under promptflow-evals: bounded retries, and errors that say what happened.

The package's own client makes a pool for each request, retries a failing service for minutes, and takes
a refused poll for "not ready yet".
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from content_safety_http import RETRYABLE_STATUS, EndpointError, endpoint_error, retry, send, status_error

MANAGEMENT_ENDPOINT = "https://management.azure.com"
MAX_RETRIES = 5

_PROJECT_EXPLANATIONS = {
    401: "the Azure token is wrong or has expired",
    403: "the Azure identity may not use this project: it needs the role Azure AI Developer",
    404: "there is no such project, or its region has no evaluation service",
    429: "too many requests",
}


class SafetyServiceError(Exception):
    """The evaluation service gave no verdict; ``status_code`` is None where no HTTP status came back.

    It is not ``retryable``: what is raised has had its attempts, so that whoever runs the flow need not submit every
    metric again. ``retry_after_s`` is what the service asked for.
    """

    retryable = False

    def __init__(self, message: str, *, status_code: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class ServiceReply:
    """What promptflow-evals reads of a response: a status below 300, and the body."""

    url: str
    status_code: int
    text: str

    def json(self) -> Any:
        """Return the body, parsed. Raises SafetyServiceError where it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise self.error("the reply is not JSON") from error

    def error(self, problem: str) -> SafetyServiceError:
        """Make an error that quotes the body."""
        return _final(endpoint_error(self.url, problem, quote=self.text, status_code=self.status_code))


class ServiceClient:
    """The client that promptflow-evals is given; it has the two methods that are called."""

    async def get(self, url: str, *, headers: Mapping[str, str], timeout: float) -> ServiceReply:
        """Get ``url``. Raises SafetyServiceError once the failure is final or the retries are used up."""
        return await _ask("GET", url, headers, timeout)

    async def post(self, url: str, *, json: Any, headers: Mapping[str, str], timeout: float) -> ServiceReply:
        """Post ``json``. Raises SafetyServiceError as ``get`` does, and for any status but 202."""
        reply = await _ask("POST", url, headers, timeout, json)
        if reply.status_code != 202:
            raise reply.error("the request was not accepted")
        return reply


def management_endpoint() -> str:
    """Return where Azure Resource Manager is: AZURE_MANAGEMENT_ENDPOINT, else the public cloud's."""
    return os.environ.get("AZURE_MANAGEMENT_ENDPOINT", "").strip().rstrip("/") or MANAGEMENT_ENDPOINT


async def _ask(method: str, url: str, headers: Mapping[str, str], timeout: float, body: Any = None) -> ServiceReply:
    if url.startswith(f"{MANAGEMENT_ENDPOINT}/"):
        url = management_endpoint() + url.removeprefix(MANAGEMENT_ENDPOINT)
    address = urlsplit(url)
    local = address.scheme == "http" and address.hostname in ("127.0.0.1", "::1", "localhost")
    if address.scheme != "https" and not local:
        raise _final(endpoint_error(url, "the Azure token is sent over https only, or to this machine"))
    kept = {name: value for name, value in headers.items() if name != "Connection"}  # the package's "close"
    try:
        return await retry(lambda: _ask_once(method, url, kept, timeout, body), retries=MAX_RETRIES)
    except EndpointError as error:
        raise _final(error) from error


async def _ask_once(method: str, url: str, headers: Mapping[str, str], timeout: float, body: Any) -> ServiceReply:
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    reply = await send(method, url, headers=headers, secret=token, timeout_s=timeout, body=body)
    if reply.status < 300:
        return ServiceReply(url, reply.status, reply.text)
    explanation, retryable = _PROJECT_EXPLANATIONS.get(reply.status, ""), reply.status in RETRYABLE_STATUS
    raise status_error(url, reply, secret=token, explanation=explanation, retryable=retryable)


def _final(error: EndpointError) -> SafetyServiceError:
    return SafetyServiceError(str(error), status_code=error.status_code, retry_after_s=error.retry_after_s)
