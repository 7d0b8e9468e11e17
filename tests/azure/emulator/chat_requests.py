"""What a serverless endpoint may be asked: Azure AI Model Inference's body, and what becomes of what is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError

_ROLES = ("system", "user", "assistant", "tool")
_KNOWN = {
    *("messages", "model", "temperature", "top_p", "max_tokens", "stop", "seed", "stream", "response_format"),
    *("frequency_penalty", "presence_penalty", "tools", "tool_choice", "modalities"),
}
"""The members of the body (reference-model-inference-chat-completions)."""
_OPENAI = {"logprobs", "top_logprobs"}
"""What the models' own route takes as well; on the other they are extra parameters, as in the reference's example."""
_BOUNDS = {
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
    "max_tokens": (int, 1, 131072),
    "frequency_penalty": (float, -2, 2),
    "presence_penalty": (float, -2, 2),
}


@dataclass(frozen=True)
class ChatRequest:
    """The messages, each with a text, and everything else that reaches the model."""

    messages: list[dict[str, str]]
    parameters: dict[str, Any]


class ChatError(ServiceError):
    """A refusal of a model's host, which names the status again; ``body`` is what it says besides."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, message, **(headers or {}))
        self.body = body or {}

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        error = {"code": self.code, "status": self.status, "message": self.message, **self.body}
        return Reply(self.status, {"error": error}, self.headers)


def read_chat(request: Request) -> ChatRequest:
    """Return what a request asks. Raises ChatError."""
    try:
        body = request.json
    except ServiceError:
        body = None
    if not isinstance(body, dict):
        raise ChatError(400, "Bad Request", "The body is no JSON object.")
    known = _KNOWN | (_OPENAI if request.path.startswith("/v1/") else set())
    body = _admitted(body, known, request.headers.get("extra-parameters", "error"))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", messages)
    for name, (kind, least, most) in _BOUNDS.items():
        value = body.get(name)
        is_number = isinstance(value, int | kind) and not isinstance(value, bool)
        if value is not None and not (is_number and least <= value <= most):
            raise _invalid(name, value)
    if body.get("stream"):
        raise NotImplementedError("streams")
    parameters = {name: value for name, value in body.items() if name != "messages"}
    return ChatRequest([_message(message) for message in messages], parameters)


def _admitted(body: dict[str, Any], known: set[str], extra: str) -> dict[str, Any]:
    """Return what of a body is passed on. Raises ChatError for extra parameters where they are errors."""
    if extra not in ("error", "drop", "pass-through"):
        raise ChatError(400, "Bad Request", f"The header 'extra-parameters' may not be {extra!r}.")
    unknown = [name for name in body if name not in known]
    if unknown and extra == "error":
        raise ChatError(
            400,
            "Bad Request",
            f"Extra parameters {unknown} are not allowed when extra-parameters is not set or set to be 'error'. "
            "Set extra-parameters to 'pass-through' to pass to the model.",
        )
    return {name: value for name, value in body.items() if extra == "pass-through" or name in known}


def _message(message: Any) -> dict[str, str]:
    """Return a message whose content is a text, be it given in parts or not."""
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise _invalid("messages", message)
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise _invalid("messages", message)
    return {"role": message["role"], "content": content}


def _invalid(name: str, value: Any) -> ChatError:
    detail = [{"type": "value_error", "loc": ["body", name], "input": value}]
    return ChatError(422, "Invalid input", f"invalid input error: {name}", body={"details": detail})
