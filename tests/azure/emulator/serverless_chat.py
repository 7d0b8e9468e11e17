"""The hosts of serverless endpoints: chat completions as Azure AI Model Inference has them, and what serves them."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict, deque
from typing import Any

from tests.azure.emulator.chat_requests import ChatError, ChatRequest, read_chat
from tests.azure.emulator.content_safety import ContentSafety
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.scoring import AnswerChat
from tests.azure.emulator.serverless_endpoints import ServerlessEndpoints

HOST = "*.models.ai.azure.com"
_LOGPROB = -0.25


class ServerlessChat:
    """Every serverless endpoint's host; ``answer_chat`` stands for the models. A word counts as a token."""

    def __init__(
        self,
        arm: ResourceManager,
        endpoints: ServerlessEndpoints,
        answer_chat: AnswerChat,
    ) -> None:
        self._world, self._endpoints = arm.world, endpoints
        self._answer_chat, self._safety = answer_chat, ContentSafety(arm.world)
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    def add_routes(self, router: Router) -> None:
        """Register what a model's host is asked."""
        for path in ("/v1/chat/completions", "/chat/completions"):
            router.add("POST", path, self._chat, host=HOST)
        router.add("GET", "/info", self._info, host=HOST)

    def _info(self, request: Request) -> Reply:
        model = self._endpoints.model(self._admit(request))
        kind = {"model_type": "chat-completion", "model_provider_name": model.publisher}
        return Reply(200, {"model_name": model.name, **kind})

    def _admit(self, request: Request) -> dict[str, Any]:
        """Return the endpoint that is asked. Raises ChatError, whose words are a guess where it names no key."""
        name, location = request.host.split(".")[:2]
        endpoint = self._endpoints.find(name, location)
        if endpoint is None:
            raise ChatError(404, "NotFound", f"There is no endpoint '{name}' in {location}.")
        given = request.headers.get("authorization") or request.headers.get("api-key", "")
        key = given.removeprefix("Bearer ").strip()
        if not key:
            raise ChatError(401, "Unauthorized", "Auth token must be passed as a header called Authorization")
        takes_keys = endpoint["properties"]["authMode"] != "AAD"
        if not takes_keys or key not in self._endpoints.keys(endpoint["id"]).values():
            raise ChatError(401, "Unauthorized", "Invalid auth token")
        if endpoint["properties"]["endpointState"] != "Online":
            state = endpoint["properties"]["endpointState"]
            raise ChatError(404, "NotFound", f"The endpoint '{name}' is not online: it is {state}.")
        return endpoint

    def _chat(self, request: Request) -> Reply:
        endpoint = self._admit(request)
        limits = self._count(endpoint["id"])
        chat = read_chat(request)
        is_safe = endpoint["properties"]["contentSafety"]["contentSafetyStatus"] == "Enabled"
        if is_safe:
            self._safety.check_prompt(chat.messages)
        text = self._answer_chat(endpoint, chat.messages, chat.parameters)
        choice = self._choice(text, chat, is_safe=is_safe)
        n_prompt = sum(len(message["content"].split()) for message in chat.messages)
        n_answer = len(choice["message"]["content"].split())
        usage = {"prompt_tokens": n_prompt, "completion_tokens": n_answer, "total_tokens": n_prompt + n_answer}
        name = self._endpoints.model(endpoint).name.lower()
        answer = {"id": uuid.uuid4().hex, "object": "chat.completion", "created": int(time.time()), "model": name}
        return Reply(200, {**answer, "choices": [choice], "usage": usage}, limits)

    def _choice(self, text: str, chat: ChatRequest, *, is_safe: bool) -> dict[str, Any]:
        words, most = text.split(" "), chat.parameters.get("max_tokens")
        is_cut = most is not None and len(words) > most
        text = " ".join(words[:most]) if is_cut else text
        filtered = self._safety.filter_answer(text) if is_safe else None
        if filtered:
            text = filtered.text
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "tool_calls": None},
            "finish_reason": "content_filter" if filtered else "length" if is_cut else "stop",
            "logprobs": None,
        }
        if chat.parameters.get("logprobs") is True and self._world.serverless_logprobs:
            choice["logprobs"] = {"content": _logprobs(text, chat.parameters.get("top_logprobs") or 0)}
        return choice | ({"content_filter_results": filtered.results} if filtered else {})

    def _count(self, endpoint_id: str) -> dict[str, str]:
        """Count a request and return the headers that say how many are left. Raises ChatError 429."""
        limit, window_s = self._world.serverless_rpm, self._world.serverless_window_s
        if limit is None:
            return {}
        now, asked = time.monotonic(), self._asked[endpoint_id]
        while asked and asked[0] <= now - window_s:
            asked.popleft()
        is_over = len(asked) >= limit
        if not is_over:
            asked.append(now)
        wait_s = max(1, int(asked[0] + window_s - now + 0.999)) if asked else 1
        headers = {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(limit - len(asked)),
            "x-ratelimit-reset-requests": str(wait_s),
        }
        if is_over:
            message = f"Rate limit is exceeded. Try again in {wait_s} seconds."
            raise ChatError(429, "RateLimitReached", message, headers={"Retry-After": str(wait_s), **headers})
        return headers


def _logprobs(text: str, n_top: int) -> list[dict[str, Any]]:
    """Return the log-probability of each token, a word with the space before it, and as many likely others."""
    rows = []
    for at, word in enumerate(text.split(" ") if text else []):
        token = word if at == 0 else f" {word}"
        row = {"token": token, "logprob": _LOGPROB, "bytes": list(token.encode())}
        others = [{"token": f"~{rank}", "logprob": _LOGPROB - rank, "bytes": None} for rank in range(1, n_top)]
        rows.append({**row, "top_logprobs": [row, *others] if n_top else []})
    return rows
