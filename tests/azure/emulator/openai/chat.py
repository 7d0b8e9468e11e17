"""Chat completions of deployed models: what a body may ask, and an answer with all that Azure adds to it."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.content_safety import is_blocked, prompt_refusal, prompt_verdict, verdict
from tests.azure.emulator.openai.deployments import Deployments
from tests.azure.emulator.openai.entrance import Entrance
from tests.azure.emulator.openai.rate_limits import RateLimits
from tests.azure.emulator.openai.refusals import DataPlaneError, invalid_request
from tests.azure.emulator.openai.training_data import count_tokens
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import World

AnswerChat = Callable[[dict[str, Any], list[dict[str, Any]], dict[str, Any]], str]
_ACTION = "deployments/chat/completions/action"
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PARAMETERS = (
    *("model", "messages", "temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "seed"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user", "stream"),
    *("response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "verbosity"),
    *("metadata", "store", "safety_identifier", "service_tier"),
)
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "n": (1, 128),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_tokens": (1, 16384),
    "max_completion_tokens": (1, 16384),
    "top_logprobs": (0, 20),
}
_NOT_WHILE_REASONING = ("max_tokens", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty")
_TOKEN = re.compile(r"\s*\S+|\s+")


class Chat:
    """Answers chats; ``answer_chat`` stands for the models."""

    def __init__(self, world: World, entrance: Entrance, deployments: Deployments, answer_chat: AnswerChat) -> None:
        self._world, self._entrance, self._deployments = world, entrance, deployments
        self._answer_chat, self._limits = answer_chat, RateLimits(world)

    def add_routes(self, router: Router) -> None:
        """Register chats: the newer form names the deployment as the model, the older one in the path."""
        path = "/deployments/{deployment}/chat/completions"
        self._entrance.add_v1(router, "POST", "/chat/completions", self._answer_v1, action=_ACTION)
        self._entrance.add_versioned(router, "POST", path, self._answer, action=_ACTION)

    def _answer_v1(self, request: Request, account: dict[str, Any]) -> Reply:
        body = request.json
        name = body.get("model") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            raise invalid_request("you must provide a model parameter")
        return self._answer(request, account, name)

    def _answer(self, request: Request, account: dict[str, Any], deployment: str) -> Reply:
        deployed = self._deployments.find(account["id"], deployment)
        if deployed is None:
            raise DataPlaneError(
                404,
                "DeploymentNotFound",
                "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
                "minutes, please wait a moment and try again.",
            )
        body = request.json
        self._check(body, deployed)
        headers = self._limits.take(deployed)
        messages = body["messages"]
        if any(is_blocked(_text(message), self._world.blocked_words) for message in messages):
            raise prompt_refusal()
        parameters = {name: value for name, value in body.items() if name not in ("model", "messages")}
        texts = [self._answer_chat(deployed, messages, parameters) for _ in range(body.get("n") or 1)]
        return Reply(200, self._completion(deployed, body, texts), {**headers, "x-ms-region": account["location"]})

    def _check(self, body: Any, deployed: dict[str, Any]) -> None:
        """Raise DataPlaneError 400 for a body that the model does not take."""
        if not isinstance(body, dict):
            raise invalid_request("The body is no JSON object.")
        for name in body:
            if name not in _PARAMETERS:
                raise invalid_request(f"Unrecognized request argument supplied: {name}")
        if body.get("stream"):
            raise NotImplementedError("the emulator does not stream")
        _check_messages(body.get("messages"))
        for name, (least, most) in _RANGES.items():
            value = body.get(name)
            if value is not None and (isinstance(value, bool) or not least <= value <= most):
                raise invalid_request(f"Invalid '{name}': {value} is not between {least} and {most}.", name)
        if body.get("top_logprobs") is not None and not body.get("logprobs"):
            message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
            raise invalid_request(message, "top_logprobs")
        if body.get("logprobs") and not self._world.openai_logprobs:
            raise invalid_request("This model does not support the following parameters: logprobs.", "logprobs")
        if self._deployments.base_of(deployed).reasons:
            _check_reasoning(body)

    def _completion(self, deployed: dict[str, Any], body: dict[str, Any], texts: list[str]) -> dict[str, Any]:
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or math.inf
        choices = [self._choice(index, text, body, limit) for index, text in enumerate(texts)]
        prompt_tokens = count_tokens([{"content": _text(message)} for message in body["messages"]])
        tokens = sum(min(len(_TOKEN.findall(text)), limit) for text in texts)
        model = deployed["properties"]["model"]
        version = "" if ".ft-" in model["name"] else f"-{self._deployments.base_of(deployed).version}"
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": f"{model['name']}{version}",
            "choices": choices,
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": prompt_verdict(blocked=False)}],
            "system_fingerprint": "fp_emulated",
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": tokens,
                "total_tokens": prompt_tokens + tokens,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        }

    def _choice(self, index: int, text: str, body: dict[str, Any], limit: float) -> dict[str, Any]:
        tokens = _TOKEN.findall(text)
        blocked, is_cut = is_blocked(text, self._world.blocked_words), len(tokens) > limit
        kept = [] if blocked else tokens[: int(min(limit, len(tokens)))]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(kept), "refusal": None, "annotations": []}
        return {
            "index": index,
            "finish_reason": "content_filter" if blocked else "length" if is_cut else "stop",
            "message": message,
            "logprobs": _logprobs(kept, body.get("top_logprobs") or 0) if body.get("logprobs") else None,
            "content_filter_results": verdict(blocked=blocked),
        }


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise invalid_request("'messages' must be a list that is not empty.", "messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise invalid_request(f"Invalid value at messages[{place}].role.", f"messages.[{place}].role")
        if not isinstance(message.get("content"), str | list) and not message.get("tool_calls"):
            what = f"expected a string, got {message.get('content')!r}"
            raise invalid_request(f"Invalid value for 'content': {what}.", f"messages.[{place}].content")


def _check_reasoning(body: dict[str, Any]) -> None:
    for name in _NOT_WHILE_REASONING:
        if body.get(name):
            way_out = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            message = f"Unsupported parameter: '{name}' is not supported with this model.{way_out}"
            raise invalid_request(message, name, "unsupported_parameter")
    if body.get("temperature") not in (None, 1):
        message = "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) "
        raise invalid_request(f"{message}value is supported.", "temperature", "unsupported_value")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _logprobs(tokens: list[str], n_top: int) -> dict[str, Any]:
    """Return log probabilities: of each token the same, and of so many others less."""
    rows = []
    for token in tokens:
        row = {"token": token, "logprob": -0.25, "bytes": list(token.encode())}
        others = [{"token": f"{token}{rank}", "logprob": -0.25 - rank, "bytes": None} for rank in range(1, n_top)]
        rows.append({**row, "top_logprobs": [row, *others] if n_top else []})
    return {"content": rows, "refusal": None}
