"""The HTTP client that asks a Phi-3 endpoint how likely it finds an answer that it is given.

Two protocols, chosen by the custom connection as flows/chat_phi3 reads it:
    configs.endpoint     the full scoring URL (or, for openai, the base URL)
    secrets.key          the key
    configs.protocol     azureml (default): the parameter score_last of `phi3flow serve`; Azure ML's own scoring
                         scripts do not know it. openai: prompt_logprobs, as vLLM and `phi3flow serve` give them;
                         OpenAI and Azure OpenAI do not
    configs.deployment   optional, azureml: the deployment that shall answer
    configs.model        optional, openai: the model's name, phi3 by default
    configs.api_version  optional, openai: the key goes into the api-key header, as Azure OpenAI wants it
A value ``${env:NAME}`` is taken from the environment, since ``pf`` stores it as it stands.

PHI3_MAX_RETRIES (default 5) bounds the retries of a request.
"""

import asyncio
import json
import math
import os
import random
import re
import urllib.request
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

TIMEOUT_S = 180.0  # Azure ML's own limit for a request
DEFAULT_MAX_RETRIES = 5
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0

_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_RETRYABLE_MODEL_STATUS = frozenset({"429", "503"})
_REFUSALS = frozenset({400, 422, 424})
_ENV_REFERENCE = re.compile(r"^\$\{env:(.+)\}$")

Messages = list[dict[str, str]]


class EndpointError(Exception):
    """The endpoint gave no log-likelihood; ``retryable`` says whether the same request may succeed later."""

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


class Likelihood(NamedTuple):
    """The log-likelihood of a text, in nats, and the number of its tokens."""

    log_likelihood: float
    tokens: int


async def score_last_message(connection: Any, messages: Messages) -> Likelihood:
    """Return how likely the endpoint finds the last message, the assistant's, after those before it.

    Raises EndpointError once the failure is final or the retries are used up, and where the endpoint answers without
    a log-likelihood, which is final: it knows none.
    """
    endpoint = _Endpoint.of(connection)
    if endpoint.protocol == "openai":
        return await _ask_openai(endpoint, messages)
    # One token is what an endpoint that does not know score_last is to spend on the answer that nobody wants.
    parameters = {"score_last": True, "max_new_tokens": 1}
    return _read_azureml(
        endpoint, await _post(endpoint, {"input_data": {"input_string": messages, "parameters": parameters}})
    )


def _read_azureml(endpoint: "_Endpoint", payload: Any) -> Likelihood:
    found = payload if isinstance(payload, dict) else {}
    log_likelihood, tokens = found.get("log_likelihood"), found.get("tokens")
    if not (_is_number(log_likelihood) and isinstance(tokens, int) and tokens > 0):
        raise endpoint.no_likelihood("score_last, which `phi3flow serve` does")
    return Likelihood(float(log_likelihood), tokens)


async def _ask_openai(endpoint: "_Endpoint", messages: Messages) -> Likelihood:
    """Ask for the log-likelihoods of the whole chat, and then how many tokens precede the answer: vLLM names no role.

    In vLLM's list each token has an entry {token id: {"logprob": nats}}, its own first; the first token has none.
    """
    body = {"model": endpoint.model, "max_tokens": 1}
    asked = body | {"messages": messages, "prompt_logprobs": 0, "add_generation_prompt": False}
    whole = await _post(endpoint, asked)
    entries = whole.get("prompt_logprobs") if isinstance(whole, dict) else None
    if not isinstance(entries, list):
        raise endpoint.no_likelihood("prompt_logprobs, which vLLM and `phi3flow serve` do")
    before = await _post(endpoint, body | {"messages": messages[:-1]})
    try:
        start = before["usage"]["prompt_tokens"]
        logprobs = [next(iter(entry.values()))["logprob"] for entry in entries[start:]]
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise endpoint.error("the answer's prompt_logprobs or usage are not in vLLM's form") from error
    if start < 1 or not logprobs or not all(map(_is_number, logprobs)):
        raise endpoint.error(f"{len(entries)} prompt_logprobs leave none for an answer after {start} tokens")
    return Likelihood(math.fsum(logprobs), len(logprobs))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


async def _post(endpoint: "_Endpoint", body: dict[str, Any]) -> Any:
    """Return the JSON of an answer of status 200 that holds no failure; retried as PHI3_MAX_RETRIES allows."""
    retries = _max_retries()
    attempt = 0
    while True:
        try:
            return await _attempt(endpoint, body)
        except EndpointError as error:
            if not error.retryable or attempt == retries:
                raise
            await asyncio.sleep(_wait_s(error, attempt))
        attempt += 1


def _wait_s(error: EndpointError, attempt: int) -> float:
    """What the endpoint asked for, else exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""
    if error.retry_after_s is not None:
        return min(error.retry_after_s, LONGEST_BACKOFF_S)
    return random.uniform(0.0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt))


def _max_retries() -> int:
    value = os.environ.get("PHI3_MAX_RETRIES", str(DEFAULT_MAX_RETRIES))
    if not value.isdecimal():
        raise EndpointError(f"PHI3_MAX_RETRIES is {value!r}: set it to a number, 0 or more")
    return int(value)


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
    def headers(self) -> dict[str, str]:
        key = {"api-key": self.key} if self.api_version else {"Authorization": f"Bearer {self.key}"}
        return {**key, **({"azureml-model-deployment": self.deployment} if self.deployment else {})}

    @property
    def query(self) -> dict[str, str]:
        return {"api-version": self.api_version} if self.api_version else {}

    def error(self, what: str, *, quote: str = "", **facts: Any) -> EndpointError:
        """An EndpointError that names the endpoint; ``quote``, what it said, is shown short, without tags and key."""
        parts = urlsplit(self.url)
        name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        text = re.sub(r"<[^>]*>", " ", quote.replace(self.key, "***"))
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        said = f": {text[:300]}{'…' if len(text) > 300 else ''}" if text else ""
        return EndpointError(f"{name}: {what}{said}", **facts)

    def no_likelihood(self, parameter: str) -> EndpointError:
        """The error of an endpoint that answers, but leaves out what it was asked for."""
        return self.error(
            f"it answers without a log-likelihood, so there is no perplexity: it does not know {parameter}",
            status_code=200,
        )


def _resolve(name: str, value: str) -> str:
    reference = _ENV_REFERENCE.match(value.strip())
    if not reference:
        return value.strip()
    variable = reference.group(1)
    if variable not in os.environ:
        raise EndpointError(f"the connection's {name} is ${{env:{variable}}}, but {variable} is not set")
    return os.environ[variable].strip()


async def _attempt(endpoint: _Endpoint, body: dict[str, Any]) -> Any:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                endpoint.url,
                json=body,
                headers=endpoint.headers,
                params=endpoint.query,
                proxy=_proxy(endpoint.url),
                allow_redirects=False,
            ) as response,
        ):
            content = (await response.read()).decode("utf-8", "replace")
    except TimeoutError as error:
        raise endpoint.error(f"no answer within {TIMEOUT_S:g} s", retryable=True) from error
    except aiohttp.ClientError as error:
        lasting = isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL)
        reason = str(error) or type(error).__name__
        raise endpoint.error("the connection failed", quote=reason, retryable=not lasting) from error
    if response.status != 200:
        raise _status_error(endpoint, response, content)
    return _payload(endpoint, content)


def _proxy(url: str) -> str | None:
    """The environment's proxy; aiohttp's own way reads ~/.netrc too, which would fight our key."""
    parts = urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)


def _status_error(endpoint: _Endpoint, response: aiohttp.ClientResponse, content: str) -> EndpointError:
    """Explain a status. 424 is Azure ML's word for a failure inside the model's container."""
    status, retry_after = response.status, response.headers.get("Retry-After", "")
    model_status = response.headers.get("ms-azureml-model-error-statuscode", "")
    what = f"HTTP {status} {response.reason or ''}".strip()
    if status in _REFUSALS and model_status not in _RETRYABLE_MODEL_STATUS:
        parameter = "prompt_logprobs and add_generation_prompt" if endpoint.protocol == "openai" else "score_last"
        what += f" (an endpoint that does not know {parameter} may refuse it: then there is no perplexity)"
    return endpoint.error(
        what,
        quote=content,
        status_code=status,
        retryable=status in _RETRYABLE_STATUS or (status == 424 and model_status in _RETRYABLE_MODEL_STATUS),
        retry_after_s=float(retry_after) if re.fullmatch(r"\d+(\.\d+)?", retry_after) else None,
    )


def _payload(endpoint: _Endpoint, content: str) -> Any:
    """Parse a body of status 200, which may hold a failure all the same."""
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
    return payload
