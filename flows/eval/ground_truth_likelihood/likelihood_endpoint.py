"""A Phi-3 endpoint, asked how likely it finds an answer that it is given, and first whether it can tell.

Two protocols, chosen by the custom connection as flows/chat_phi3 reads it:
    configs.endpoint     the full scoring URL (or, for openai, the base URL)
    secrets.key          the key
    configs.protocol     azureml (default): the parameter score_last of `phi3flow serve`; Azure ML's own scoring
                         scripts do not know it. openai: prompt_logprobs, as vLLM and `phi3flow serve` give them;
                         OpenAI and Azure OpenAI do not. Azure's model inference refuses what it does not know unless
                         the header extra-parameters has it passed through to the model
    configs.deployment   optional, azureml: the deployment that shall answer, whatever the traffic rules say
    configs.model        optional, openai: the model's name, phi3 by default
    configs.api_version  optional, openai: Azure OpenAI's api-version, which also moves the key to the api-key header
A value ``${env:NAME}`` is taken from the environment, since ``pf`` stores it as it stands.

PHI3_MAX_RETRIES (default 5) bounds the retries of a request; with 0 whoever calls the flow retries.
"""

import asyncio
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from likelihood_http import RETRYABLE_STATUS, EndpointError, Reply, endpoint_error, quoted, retry, send, status_error

TIMEOUT_S = 180.0  # Azure ML's own limit for a request
DEFAULT_MAX_RETRIES = 5

_REFUSALS = frozenset({400, 422, 424})
_RETRYABLE_MODEL_STATUS = frozenset({"429", "503"})
_EXPLANATIONS = {
    401: "the key is wrong or has expired: it must be one of this endpoint's own",
    403: "the key may not use this endpoint",
    404: "there is no such path, or no deployment has traffic",
    408: "the model took longer than the deployment's request_timeout_ms",
    413: "the request is too large",
    429: "too many requests: the rate limit of requests or tokens, or all instances are busy",
}
_CODE_EXPLANATIONS = {
    "DeploymentNotFound": (
        "the deployment {deployment} does not exist, or Azure removed it: one that is idle for 15 days is deleted "
        "(of the developer tier: after 24 hours), its model is kept: phi3flow deploy --backend azure-openai"
    ),
    "context_length_exceeded": (
        "the messages and max_new_tokens are more tokens than the model takes: shorten the prompt, the history or "
        "max_new_tokens"
    ),
}
"""By error.code of a body in OpenAI's form; they say more than its status."""
_ENV_REFERENCE = re.compile(r"^\$\{env:(.+)\}$")

Messages = list[dict[str, str]]


_WITHOUT = "it answers without a log-likelihood, so there is no perplexity: it does not know"
_PROBE = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]


class Likelihood(NamedTuple):
    """The log-likelihood of a text, in nats, and the number of its tokens."""

    log_likelihood: float
    tokens: int


class NoLikelihoodError(EndpointError):
    """The endpoint answers, and tells no log-likelihood."""


async def why_no_likelihood(connection: Any) -> str | None:
    """Return why the endpoint tells no log-likelihood, None where it does; it is asked once, about two words.

    Raises EndpointError where it cannot be asked; then the next caller asks again.
    """
    endpoint = _ScoringEndpoint.of(connection)
    if endpoint not in _reasons:
        probes = _probes.setdefault(asyncio.get_running_loop(), {})
        if endpoint not in probes:
            probes[endpoint] = asyncio.ensure_future(_probe(endpoint))
            probes[endpoint].add_done_callback(lambda _: probes.pop(endpoint, None))
        _reasons[endpoint] = await asyncio.shield(probes[endpoint])
    return _reasons[endpoint]


async def score_last_message(connection: Any, messages: Messages) -> Likelihood:
    """Return how likely the endpoint finds the last message, the assistant's, after those before it.

    Raises EndpointError once the failure is final or the retries are used up.
    """
    return await _score(_ScoringEndpoint.of(connection), messages)


async def _score(endpoint: "_Endpoint", messages: Messages) -> Likelihood:
    return await (_ask_openai if endpoint.protocol == "openai" else _ask_azureml)(endpoint, messages)


async def _probe(endpoint: "_Endpoint") -> str | None:
    """Ask about two words. A refusal is the parameters' where the endpoint answers without them."""
    try:
        await _score(endpoint, _PROBE)
    except NoLikelihoodError as error:
        return str(error)
    except EndpointError as error:
        if error.retryable or error.status_code not in _REFUSALS:
            raise
        await _ask_plainly(endpoint)
        parameters = "prompt_logprobs and add_generation_prompt" if endpoint.protocol == "openai" else "score_last"
        return f"{error} (it answers without {parameters}, and refuses them: so there is no perplexity)"
    return None


async def _ask_plainly(endpoint: "_Endpoint") -> None:
    messages = _PROBE[:1]
    if endpoint.protocol == "openai":
        await _post(endpoint, {"model": endpoint.model, "max_tokens": 1, "messages": messages})
    else:
        await _post(endpoint, {"input_data": {"input_string": messages, "parameters": {"max_new_tokens": 1}}})


async def _ask_azureml(endpoint: "_Endpoint", messages: Messages) -> Likelihood:
    # One token is what an endpoint that does not know score_last is to spend on the answer that nobody wants.
    parameters = {"score_last": True, "max_new_tokens": 1}
    payload = await _post(endpoint, {"input_data": {"input_string": messages, "parameters": parameters}})
    figures = payload if isinstance(payload, dict) else {}
    log_likelihood, tokens = figures.get("log_likelihood"), figures.get("tokens")
    if not (_is_number(log_likelihood) and isinstance(tokens, int) and tokens > 0):
        raise _no_likelihood(endpoint, f"{_WITHOUT} score_last, which `phi3flow serve` does")
    return Likelihood(float(log_likelihood), tokens)


async def _ask_openai(endpoint: "_Endpoint", messages: Messages) -> Likelihood:
    """Ask for the log-likelihoods of the whole chat, and then how many tokens precede the answer: vLLM names no role.

    In vLLM's list each token has an entry {token id: {"logprob": nats}}, its own first; the first token has none.
    """
    body = {"model": endpoint.model, "max_tokens": 1}
    scoring = {"messages": messages, "prompt_logprobs": 0, "add_generation_prompt": False}
    chat = await _post(endpoint, body | scoring)
    entries = chat.get("prompt_logprobs") if isinstance(chat, dict) else None
    if not isinstance(entries, list):
        raise _no_likelihood(endpoint, f"{_WITHOUT} prompt_logprobs, which vLLM and `phi3flow serve` do")
    before = await _post(endpoint, body | {"messages": messages[:-1]})
    try:
        start = before["usage"]["prompt_tokens"]
        logprobs = [next(iter(entry.values()))["logprob"] for entry in entries[start:]]
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise _no_likelihood(endpoint, "the answer's prompt_logprobs or usage are not in vLLM's form") from error
    if start < 1 or not logprobs or not all(map(_is_number, logprobs)):
        raise _no_likelihood(endpoint, f"{len(entries)} prompt_logprobs leave none for an answer after {start} tokens")
    return Likelihood(math.fsum(logprobs), len(logprobs))


def _no_likelihood(endpoint: "_Endpoint", problem: str) -> NoLikelihoodError:
    return NoLikelihoodError(str(endpoint.error(problem)), status_code=200)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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

    @property
    def azure_deployment(self) -> str:
        """The name that Azure OpenAI looks up: in its older route a part of the path, else the model's."""
        in_path = re.search(r"/deployments/([^/]+)", self.url)
        return in_path.group(1) if in_path else self.model

    def error(self, problem: str, *, quote: str = "", **facts: Any) -> EndpointError:
        """Make an error that names the endpoint; ``quote`` is what it said."""
        return endpoint_error(self.url, problem, quote=quote, secret=self.key, **facts)


class _ScoringEndpoint(_Endpoint):
    """An endpoint that is asked for what Azure's model inference does not know: it hands that on to its model."""

    @property
    def headers(self) -> dict[str, str]:
        passed_through = {"extra-parameters": "pass-through"} if self.protocol == "openai" else {}
        return {**super().headers, **passed_through}


_reasons: dict[_Endpoint, str | None] = {}
_probes: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Endpoint, asyncio.Future[str | None]]] = WeakKeyDictionary()
"""Those that are under way: whoever comes meanwhile waits for them."""


def _resolve(name: str, value: str) -> str:
    reference = _ENV_REFERENCE.match(value.strip())
    if not reference:
        return value.strip()
    variable = reference.group(1)
    if variable not in os.environ:
        raise EndpointError(f"the connection's {name} is ${{env:{variable}}}, but {variable} is not set")
    return os.environ[variable].strip()


async def _post(endpoint: _Endpoint, body: dict[str, Any]) -> Any:
    """Return the JSON of an answer of status 200 that holds no failure; retried as PHI3_MAX_RETRIES allows."""
    return await retry(lambda: _attempt(endpoint, body), retries=_max_retries())


def _max_retries() -> int:
    value = os.environ.get("PHI3_MAX_RETRIES", str(DEFAULT_MAX_RETRIES))
    if not value.isdecimal():
        raise EndpointError(f"PHI3_MAX_RETRIES is {value!r}: set it to a number, 0 or more")
    return int(value)


async def _attempt(endpoint: _Endpoint, body: dict[str, Any]) -> Any:
    reply = await send(
        "POST",
        endpoint.url,
        headers=endpoint.headers,
        secret=endpoint.key,
        timeout_s=TIMEOUT_S,
        query=endpoint.query,
        body=body,
    )
    if reply.status != 200:
        raise _status_error(endpoint, reply)
    return _payload(endpoint, reply.text)


def _status_error(endpoint: _Endpoint, reply: Reply) -> EndpointError:
    """Explain a status. 424 is Azure ML's word for a failure inside the model's container."""
    error, retryable = _service_error(reply.text), reply.status in RETRYABLE_STATUS
    code, cause = error.get("code"), error.get("innererror")
    if code == "content_filter":  # without a quote: the words that came with it differ from line to line
        results = cause.get("content_filter_result") if isinstance(cause, dict) else None
        return endpoint.error(_blocked("question", results), status_code=reply.status)
    explanation = _CODE_EXPLANATIONS.get(str(code), _EXPLANATIONS.get(reply.status, ""))
    explanation = explanation.format(deployment=endpoint.azure_deployment)
    if reply.status == 424:
        model_status = reply.headers.get("ms-azureml-model-error-statuscode", "unknown")
        reason = reply.headers.get("ms-azureml-model-error-reason", "no reason given")
        explanation = f"the model's container failed (its status {model_status}, {reason})"
        retryable = model_status in _RETRYABLE_MODEL_STATUS
    elif 300 <= reply.status < 400:
        explanation = "the endpoint has moved: put its new URL into the connection"
    return status_error(endpoint.url, reply, secret=endpoint.key, explanation=explanation, retryable=retryable)


def _service_error(text: str) -> dict[str, Any]:
    """The error of a body in OpenAI's form, empty where it is in another."""
    try:
        error = json.loads(text)["error"]
    except (KeyError, RecursionError, TypeError, ValueError):
        return {}
    return error if isinstance(error, dict) else {}


def _blocked(what: str, results: Any) -> str:
    """What content safety blocked, and why, as Azure's filters tell: ``hate: high; jailbreak``."""
    filters = results.items() if isinstance(results, dict) else ()
    blocking = [(name, result) for name, result in filters if isinstance(result, dict) and result.get("filtered")]
    reasons = [f"{name}: {result['severity']}" if result.get("severity") else name for name, result in blocking]
    return f"content safety blocked the {what}" + (
        f" ({quoted('; '.join(reasons)).removeprefix(': ')})" if reasons else ""
    )


def _payload(endpoint: _Endpoint, content: str) -> Any:
    """Parse a body of status 200, which may hold a failure all the same."""
    try:
        payload = json.loads(content)
        if isinstance(payload, str):  # scoring scripts that return json.dumps(…) are encoded twice
            payload = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise endpoint.error("the answer is not JSON", quote=content, status_code=200) from error
    if payload == {}:
        raise endpoint.error("the answer is empty ({}): content safety blocked it", status_code=200)
    if isinstance(payload, dict) and (payload.get("error") or payload.get("exception")):
        raise endpoint.error("the model failed under status 200", quote=content, status_code=200)
    return payload
