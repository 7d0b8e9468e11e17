"""The HTTP client of a Phi-3 endpoint: two protocols, retries, and errors that say what happened.

What it reads from the custom connection:
    configs.endpoint     the full scoring URL (or, for openai, the base URL)
    secrets.key          the key
    configs.protocol     azureml (default): Azure ML's online endpoints;
                         openai: serverless deployments, vLLM, Azure OpenAI
    configs.deployment   optional, azureml: the deployment that shall answer, whatever the traffic rules say
    configs.model        optional, openai: the model's name, phi3 by default
    configs.api_version  optional, openai: Azure OpenAI's api-version, which also moves the key to the api-key header
A value ``${env:NAME}`` is taken from the environment, since ``pf`` stores it as it stands.

PHI3_MAX_RETRIES (default 5) bounds the retries; with 0 whoever calls the flow retries.
"""

import asyncio
import email.utils
import json
import os
import random
import re
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

TIMEOUT_S = 180.0  # Azure ML's own limit for a request
CONNECTIONS = 500  # Azure ML's limit for an endpoint
DEFAULT_MAX_RETRIES = 5
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 180.0

_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_RETRYABLE_MODEL_STATUS = frozenset({"429", "503"})
_EXPLANATIONS = {
    401: "the key is wrong or has expired",
    403: "the key may not use this endpoint",
    404: "there is no such path, or no deployment has traffic",
    408: "the model took longer than the deployment's request_timeout_ms",
    413: "the request is too large",
    429: "too many requests: the rate limit, or all instances are busy",
}
_ENV_REFERENCE = re.compile(r"^\$\{env:(.+)\}$")


class EndpointError(Exception):
    """The endpoint gave no answer.

    ``status_code`` is None where no HTTP status came back; ``retryable`` says whether the same request may succeed
    later; ``retry_after_s`` is what the endpoint asked for.
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


class Answer(str):
    """The model's answer, with the messages it was given and the tokens that the endpoint counted (None: it does not).

    A string to Prompt flow and to JSON; a batch runner that knows the attributes need not count for itself.
    """

    messages: list[dict[str, str]]
    usage: dict[str, int] | None

    def __new__(cls, text: str, *, messages: list[dict[str, str]], usage: dict[str, int] | None) -> "Answer":
        """Attach the attributes to ``text``."""
        answer = super().__new__(cls, text)
        answer.messages, answer.usage = messages, usage
        return answer

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Travel between processes as the text alone: ``pf`` passes it through one that does not know this module."""
        return str, (str(self),)


async def complete(connection: Any, messages: list[dict[str, str]], **parameters: float) -> Answer:
    """Return the model's answer to ``messages``, sampled with ``parameters`` (temperature, max_new_tokens …).

    Raises EndpointError once the failure is final or the retries are used up.
    """
    endpoint = _Endpoint.of(connection)
    body = endpoint.body(messages, parameters)
    retries = _max_retries()
    attempt = 0
    while True:
        try:
            text, usage = await _attempt(endpoint, body)
            return Answer(text, messages=messages, usage=usage)
        except EndpointError as error:
            wait_s = _wait_s(error, attempt)
            if not error.retryable or attempt == retries or wait_s > LONGEST_RETRY_AFTER_S:
                raise
        attempt += 1
        await asyncio.sleep(wait_s)


def _max_retries() -> int:
    value = os.environ.get("PHI3_MAX_RETRIES", str(DEFAULT_MAX_RETRIES))
    if not value.isdecimal():
        raise EndpointError(f"PHI3_MAX_RETRIES is {value!r}: set it to a number, 0 or more")
    return int(value)


def _wait_s(error: EndpointError, attempt: int) -> float:
    """What the endpoint asked for, else exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return random.uniform(0.0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt))


@dataclass(frozen=True)
class _Endpoint:
    """Where a request goes, and how it is dressed."""

    url: str
    key: str = field(repr=False)
    protocol: str
    deployment: str | None
    model: str
    api_version: str | None

    @classmethod
    def of(cls, connection: Any) -> "_Endpoint":
        """Read a custom connection. Raises EndpointError that names the value which is wrong."""
        values = {**connection.configs, **connection.secrets}  # Foundry lets people mark any key as secret, or none
        values = {name: _resolve(name, value) for name, value in values.items()}
        url, key, protocol = values.get("endpoint", ""), values.get("key", ""), values.get("protocol", "azureml")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise EndpointError(f"the connection's endpoint is {url!r}: it must be the endpoint's http(s) URL")
        if not key:
            raise EndpointError("the connection has no key: it must be the endpoint's key")
        if protocol not in ("azureml", "openai"):
            raise EndpointError(f"the connection's protocol is {protocol!r}: it must be azureml or openai")
        if protocol == "openai":
            url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        model = values.get("model", "phi3")
        return cls(url, key, protocol, values.get("deployment"), model, values.get("api_version"))

    @property
    def name(self) -> str:
        """The URL as a message may show it: without a query and without credentials."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def headers(self) -> dict[str, str]:
        key = {"api-key": self.key} if self.api_version else {"Authorization": f"Bearer {self.key}"}
        return {**key, **({"azureml-model-deployment": self.deployment} if self.deployment else {})}

    @property
    def query(self) -> dict[str, str]:
        return {"api-version": self.api_version} if self.api_version else {}

    def body(self, messages: list[dict[str, str]], parameters: Mapping[str, float]) -> dict[str, Any]:
        """The request in the endpoint's protocol."""
        if self.protocol == "azureml":
            return {"input_data": {"input_string": messages, "parameters": dict(parameters)}}
        renamed = {"max_tokens" if name == "max_new_tokens" else name: value for name, value in parameters.items()}
        return {"model": self.model, "messages": messages, **renamed}

    def error(self, what: str, *, quote: str = "", **facts: Any) -> EndpointError:
        """An EndpointError that names the endpoint; ``quote``, what it said, is shown short, without tags and key."""
        text = re.sub(r"<[^>]*>", " ", quote.replace(self.key, "***"))
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        said = f": {text[:300]}{'…' if len(text) > 300 else ''}" if text else ""
        return EndpointError(f"{self.name}: {what}{said}", **facts)


def _resolve(name: str, value: str) -> str:
    reference = _ENV_REFERENCE.match(value.strip())
    if not reference:
        return value.strip()
    variable = reference.group(1)
    if variable not in os.environ:
        raise EndpointError(f"the connection's {name} is ${{env:{variable}}}, but {variable} is not set")
    return os.environ[variable].strip()


async def _attempt(endpoint: _Endpoint, body: dict[str, Any]) -> tuple[str, dict[str, int] | None]:
    session = await _session()
    try:
        async with session.post(
            endpoint.url,
            json=body,
            headers=endpoint.headers,
            params=endpoint.query,
            proxy=_proxy(session, endpoint.url),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as response:
            content = (await response.read()).decode("utf-8", "replace")
            if response.status != 200:
                raise _status_error(endpoint, response, content)
            return _answer(endpoint, content)
    except TimeoutError as error:
        raise endpoint.error(f"no answer within {TIMEOUT_S:g} s", retryable=True) from error
    except aiohttp.ClientPayloadError as error:
        raise endpoint.error("the answer was cut short", retryable=True) from error
    except aiohttp.ClientError as error:
        lasting = isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL)
        reason = str(error) or type(error).__name__
        raise endpoint.error("the connection failed", quote=reason, retryable=not lasting) from error


def _status_error(endpoint: _Endpoint, response: aiohttp.ClientResponse, content: str) -> EndpointError:
    """Explain a status. 424 is Azure ML's word for a failure inside the model's container."""
    status = response.status
    what = f"HTTP {status} {response.reason or ''}".strip()
    retryable = status in _RETRYABLE_STATUS
    if status == 424:
        model_status = response.headers.get("ms-azureml-model-error-statuscode", "unknown")
        reason = response.headers.get("ms-azureml-model-error-reason", "no reason given")
        what += f", the model's container failed (its status {model_status}, {reason})"
        retryable = model_status in _RETRYABLE_MODEL_STATUS
    elif status in _EXPLANATIONS:
        what += f", {_EXPLANATIONS[status]}"
    elif 300 <= status < 400:
        what += ", the endpoint has moved: put its new URL into the connection"
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    if retry_after_s is not None:
        what += f", to be retried after {retry_after_s:.0f} s"
    return endpoint.error(what, quote=content, status_code=status, retryable=retryable, retry_after_s=retry_after_s)


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


def _answer(endpoint: _Endpoint, content: str) -> tuple[str, dict[str, int] | None]:
    """Find the answer and the tokens in a body of status 200, which may hold a failure all the same."""
    try:
        payload = json.loads(content)
        if isinstance(payload, str):  # scoring scripts that return json.dumps(…) are encoded twice
            payload = json.loads(payload)
    except ValueError as error:
        raise endpoint.error("the answer is not JSON", quote=content, status_code=200) from error
    if payload == {}:
        raise endpoint.error("the answer is empty ({}): content safety blocked it", status_code=200)
    if isinstance(payload, dict) and (payload.get("error") or payload.get("exception")):
        raise endpoint.error("the model failed under status 200", quote=content, status_code=200)
    find = _openai_answer if endpoint.protocol == "openai" else _azureml_answer
    return find(endpoint, payload), _usage(payload)


def _azureml_answer(endpoint: _Endpoint, payload: Any) -> str:
    answer = payload.get("output") if isinstance(payload, dict) else None
    if not isinstance(answer, str):
        raise endpoint.error("the answer has no text in 'output'", quote=json.dumps(payload), status_code=200)
    return answer


def _openai_answer(endpoint: _Endpoint, payload: Any) -> str:
    try:
        choice = payload["choices"][0]
        finish_reason, answer = choice.get("finish_reason"), choice["message"]["content"]
    except (AttributeError, IndexError, KeyError, TypeError):
        finish_reason, answer = None, None
    if finish_reason == "content_filter":
        raise endpoint.error("content safety blocked the answer (finish_reason content_filter)", status_code=200)
    if not isinstance(answer, str):
        quote = json.dumps(payload)
        raise endpoint.error("the answer has no text in choices[0].message.content", quote=quote, status_code=200)
    return answer


def _proxy(session: aiohttp.ClientSession, url: str) -> str | None:
    """The environment's proxy (aiohttp's own way reads ~/.netrc too, which would fight our key), looked up once."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    known = _proxies.setdefault(session, {})
    if host not in known:
        known[host] = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
    return known[host]


_proxies: WeakKeyDictionary[aiohttp.ClientSession, dict[str, str | None]] = WeakKeyDictionary()


def _usage(payload: Any) -> dict[str, int] | None:
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return counts if all(isinstance(count, int) for count in counts.values()) else None


_sessions: dict[
    asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]
] = {}


async def _session() -> aiohttp.ClientSession:
    """Return the running event loop's client, with one pool of connections for all requests of that loop.

    Prompt flow makes a loop for a line (``pf flow test``), for a request (``pf flow serve``) or for a run. The client
    lives in an async generator, because ``asyncio.run`` closes those before it closes the loop: nothing leaks.
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
    connector, no_cookies = aiohttp.TCPConnector(limit=CONNECTIONS), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=no_cookies) as session:
        try:
            yield session
        finally:
            _sessions.pop(loop, None)
