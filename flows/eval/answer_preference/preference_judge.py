"""The request to the judge."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from openai import AsyncAzureOpenAI, AsyncOpenAI
from promptflow.connections import AzureOpenAIConnection
from promptflow.core._prompty_utils import normalize_connection_config, parse_environment_variable

TIMEOUT_S = 180.0
DEFAULT_MAX_RETRIES = 5
MAX_TOKENS = 1024
_POOLS = 32
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()


async def ask_preference(connection: Any, model: str, messages: list[dict[str, str]]) -> Any:
    """Send one request, at temperature 0. Raises ValueError for an answer that is no completion, openai's errors.

    PHI3_MAX_RETRIES (default 5) bounds the retries; with 0 whoever calls the flow retries.
    """
    completion: Any = await _client(connection).chat.completions.create(
        model=model,
        messages=messages,  # type: ignore[arg-type]
        temperature=0.0,
        max_tokens=MAX_TOKENS,
    )
    if isinstance(completion, str) or not completion.choices:
        raise ValueError(f"the judge sent no chat completion: {str(completion)[:120]!r}")
    if completion.choices[0].finish_reason == "content_filter":
        raise ValueError("the judge's content filter withheld the verdict")
    return completion


def max_retries() -> int:
    """Return how often a request is tried again: PHI3_MAX_RETRIES, by default 5; with 0 whoever calls the flow does."""
    value = os.environ.get("PHI3_MAX_RETRIES", str(DEFAULT_MAX_RETRIES))
    if not value.isdecimal():
        raise ValueError(f"PHI3_MAX_RETRIES is {value!r}: set it to a number, 0 or more")
    return int(value)


def _client(connection: Any) -> AsyncOpenAI:
    """Return the event loop's client: one for a whole run where one loop runs all lines; pf makes a loop a line.

    It follows no redirect, which would take the key elsewhere, and keeps no cookie.
    """
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        http = httpx.AsyncClient(transport=_Pools(), timeout=TIMEOUT_S, cookies=no_cookies)
        make = AsyncAzureOpenAI if isinstance(connection, AzureOpenAIConnection) else AsyncOpenAI
        # A connection of pf's store that was made from a file holds ${env:NAME} as it stands.
        stored = normalize_connection_config(connection)
        options = {key: parse_environment_variable(value) for key, value in stored.items()}
        options["max_retries"] = max_retries()
        client = _clients[loop] = make(**options, http_client=http, timeout=TIMEOUT_S)
    return client


class _Pools(httpx.AsyncBaseTransport):
    """Small pools of connections, in turn: at every request httpcore compares all connections of a pool with all."""

    def __init__(self) -> None:
        pools = [httpx.AsyncHTTPTransport(verify=_tls(), limits=httpx.Limits()) for _ in range(_POOLS)]
        self._turns = itertools.cycle(pools)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send by the pool whose turn it is."""
        return await next(self._turns).handle_async_request(request)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # 40 ms, the same for every client
