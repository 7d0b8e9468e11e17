"""One question to the judge: what is sent, and what counts as a verdict."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import re
import ssl
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from openai import APIConnectionError, APIStatusError, AsyncAzureOpenAI, AsyncOpenAI
from promptflow.connections import AzureOpenAIConnection
from promptflow.core._prompty_utils import normalize_connection_config, parse_environment_variable

TIMEOUT_S = 180.0
DEFAULT_MAX_RETRIES = 5
RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_VERDICT = re.compile(r"\s*([1-5])\s*", re.ASCII)
_LONGEST_QUOTE = 120
_LONGEST_REASON = 500
_POOLS = 32
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()


class VerdictError(Exception):
    """The judge answered, but gave no verdict."""


@dataclass(frozen=True)
class Judgement:
    """A metric's score from 1 to 5, what it cost in tokens, and what the judge calls itself."""

    score: int
    prompt_tokens: int
    completion_tokens: int
    model: str


def max_retries() -> int:
    """Return how often a request is tried again: PHI3_MAX_RETRIES, by default 5; with 0 whoever calls the flow does."""
    value = os.environ.get("PHI3_MAX_RETRIES", str(DEFAULT_MAX_RETRIES))
    if not value.isdecimal():
        raise ValueError(f"PHI3_MAX_RETRIES is {value!r}: set it to a number, 0 or more")
    return int(value)


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may be answered later."""
    if isinstance(error, APIStatusError):
        return error.status_code in RETRYABLE_STATUS
    return isinstance(error, APIConnectionError)


def describe_error(error: BaseException) -> str:
    """Return what failed, in a line; openai says no more than "Connection error." where its cause says why."""
    cause = f" ({error.__cause__})" if isinstance(error, APIConnectionError) and error.__cause__ else ""
    return f"{type(error).__name__}: {error}{cause}"[:_LONGEST_REASON]


async def ask_judge(connection: Any, request: dict[str, Any]) -> Judgement:
    """Send one request. Raises VerdictError for an answer that is no verdict, and openai's errors."""
    completion = await _client(connection).chat.completions.create(**request)
    if isinstance(completion, str) or not completion.choices:
        raise VerdictError(f"the judge sent no chat completion: {_quote(completion)}")
    usage = completion.usage
    return Judgement(
        score=parse_verdict(completion.choices[0]),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        model=(completion.model or "")[:_LONGEST_QUOTE],
    )


def parse_verdict(choice: Any) -> int:
    """Return the integer from 1 to 5 that the whole answer is. Raises VerdictError for anything else.

    promptflow-evals takes the first digit of the text: 1 of "10", and a number out of a refusal's.
    """
    if choice.finish_reason == "content_filter":
        raise VerdictError("the judge's content filter withheld the verdict")
    if getattr(choice.message, "refusal", None):
        raise VerdictError(f"the judge refused: {_quote(choice.message.refusal)}")
    text = choice.message.content or ""
    if not text.strip():
        raise VerdictError(f"the judge gave an empty answer (finish_reason {choice.finish_reason})")
    verdict = _VERDICT.fullmatch(text)
    if verdict is None:
        raise VerdictError(f"the judge answered {_quote(text)}, which is no integer from 1 to 5")
    return int(verdict.group(1))


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


def _quote(text: object) -> str:
    quoted = repr(text)
    return quoted if len(quoted) <= _LONGEST_QUOTE else f"{quoted[: _LONGEST_QUOTE - 1]}…"
