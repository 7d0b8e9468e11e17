"""The HTTP client under promptflow-evals: one pool of connections, bounded retries, errors that say what happened.

The package's own client makes a pool for each request, retries a failing service for minutes, and takes
a refused poll for "not ready yet".
"""

import asyncio
import email.utils
import json
import os
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

MANAGEMENT_ENDPOINT = "https://management.azure.com"
MAX_RETRIES = 4
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 180.0

_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_EXPLANATIONS = {
    401: "the Azure token is wrong or has expired",
    403: "the Azure identity may not use this project: it needs the role Azure AI Developer",
    404: "there is no such project, or its region has no evaluation service",
    429: "too many requests",
}


class SafetyServiceError(Exception):
    """The evaluation service gave no verdict.

    ``status_code`` is None where no HTTP status came back. ``retryable`` says whether another attempt may help; what
    leaves this module has had its attempts, so that whoever runs the flow need not submit every metric again.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retryable = retryable
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Reply:
    """What promptflow-evals reads of a response: a status below 300, and the body."""

    url: str
    status_code: int
    text: str

    def json(self) -> Any:
        """Return the body, parsed. Raises SafetyServiceError where it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise _error(self.url, "the reply is not JSON", quote=self.text, status_code=self.status_code) from error


class ServiceClient:
    """The client that promptflow-evals is given; it has the two methods that are called."""

    async def get(self, url: str, *, headers: Mapping[str, str], timeout: float) -> Reply:
        """Get ``url``. Raises SafetyServiceError once the failure is final or the retries are used up."""
        return await _send("GET", url, headers, timeout)

    async def post(self, url: str, *, json: Any, headers: Mapping[str, str], timeout: float) -> Reply:
        """Post ``json``. Raises SafetyServiceError as ``get`` does, and for any status but 202."""
        reply = await _send("POST", url, headers, timeout, json)
        if reply.status_code != 202:
            raise _error(url, "the request was not accepted", quote=reply.text, status_code=reply.status_code)
        return reply


def management_endpoint() -> str:
    """Return where Azure Resource Manager is: AZURE_MANAGEMENT_ENDPOINT, else the public cloud's."""
    return os.environ.get("AZURE_MANAGEMENT_ENDPOINT", "").strip().rstrip("/") or MANAGEMENT_ENDPOINT


async def _send(method: str, url: str, headers: Mapping[str, str], timeout: float, body: Any = None) -> Reply:
    if url.startswith(f"{MANAGEMENT_ENDPOINT}/"):
        url = management_endpoint() + url.removeprefix(MANAGEMENT_ENDPOINT)
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")):
        raise _error(url, "the Azure token is sent over https only, or to this machine")
    kept = {name: value for name, value in headers.items() if name != "Connection"}  # the package's "close"
    attempt = 0
    while True:
        try:
            return await _attempt(method, url, kept, timeout, body)
        except SafetyServiceError as error:
            wait_s = error.retry_after_s
            if wait_s is None:  # full jitter (Brooker, AWS Architecture Blog, 2015)
                wait_s = random.uniform(0.0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt))
            if not error.retryable or attempt == MAX_RETRIES or wait_s > LONGEST_RETRY_AFTER_S:
                error.retryable = False
                raise
        attempt += 1
        await asyncio.sleep(wait_s)


async def _attempt(method: str, url: str, headers: Mapping[str, str], timeout: float, body: Any) -> Reply:
    session = await _session()
    limit = aiohttp.ClientTimeout(total=timeout)
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        async with session.request(
            method, url, json=body, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            content = (await response.read()).decode("utf-8", "replace")
            if response.status < 300:
                return Reply(url, response.status, content)
            raise _status_error(url, response, content, token)
    except TimeoutError as error:
        raise _error(url, f"no reply within {timeout:g} s", retryable=True) from error
    except aiohttp.ClientError as error:
        lasting = isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL)
        reason = str(error) or type(error).__name__
        raise _error(url, "the connection failed", quote=reason, token=token, retryable=not lasting) from error


def _status_error(url: str, response: aiohttp.ClientResponse, content: str, token: str) -> SafetyServiceError:
    status = response.status
    what = f"HTTP {status} {response.reason or ''}".strip()
    if status in _EXPLANATIONS:
        what += f", {_EXPLANATIONS[status]}"
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    retryable = status in _RETRYABLE_STATUS
    return _error(
        url, what, quote=content, token=token, status_code=status, retryable=retryable, retry_after_s=retry_after_s
    )


def _retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3: seconds or an HTTP date); None where it is neither."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _error(url: str, what: str, *, quote: str = "", token: str = "", **facts: Any) -> SafetyServiceError:
    """Make an error that names the URL without its query; ``quote`` is what the service said."""
    parts = urlsplit(url)
    named = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return SafetyServiceError(f"{named}: {what}{said(quote, token=token)}", **facts)


def said(quote: str, *, token: str = "") -> str:
    """Return ``: quote`` as a message may show it: printable, short, without tags and token; "" for no quote."""
    text = re.sub(r"<[^>]*>", " ", quote.replace(token, "***") if token else quote)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f": {text[:300]}{'…' if len(text) > 300 else ''}" if text else ""


_sessions: dict[
    asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]
] = {}


async def _session() -> aiohttp.ClientSession:
    """Return the running event loop's client.

    It lives in an async generator, because ``asyncio.run`` closes those before it closes the loop: nothing leaks.
    """
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        for other in list(_sessions):
            if other.is_closed():
                _sessions.pop(other, None)
        lifetime = _session_lifetime(loop)
        _sessions[loop] = (await anext(lifetime), lifetime)
    return _sessions[loop][0]


async def _session_lifetime(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession(trust_env=True, cookie_jar=aiohttp.DummyCookieJar()) as session:
        try:
            yield session
        finally:
            _sessions.pop(loop, None)
