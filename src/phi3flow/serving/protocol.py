"""What goes over the wire: requests and answers of ``/score`` (Azure ML) and ``/v1/chat/completions`` (OpenAI).

What both protocols have in common, the bodies of /score and which unknown keys are ignored or refused with 422, stands
in ``azure/scoring_protocol.py``.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from phi3flow.records.validation import Problem, first_problem
from phi3flow.serving.azure.scoring_protocol import (
    Body,
    ChatMessage,
    OpenBody,
    ScoreBody,
    StopStrings,
    body_at,
    explain_unknown,
)
from phi3flow.serving.batching import Generation
from phi3flow.serving.sampling import SamplingParameters
from phi3flow.text import cut

OPENAI_TEMPERATURE = 1.0
"""/v1/chat/completions without a temperature: OpenAI's default."""

_SHOWN_CHARACTERS = 80


class RequestError(Exception):
    """A request that is refused: an HTTP status, a short code, and a message for a person."""

    def __init__(
        self, status: int, code: str, message: str, parameter: str | None = None, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class ChatRequest:
    """A request of either protocol, understood: ``stream`` and ``stream_usage`` are OpenAI's only.

    ``ignored`` are the keys of its body that were not read.

    The assistant speaks next unless the messages are ``complete``; ``scored`` says which of their tokens come back
    with log-likelihoods: the last message's, or all.
    """

    messages: list[dict[str, str]]
    parameters: SamplingParameters
    complete: bool = False
    scored: Literal["answer", "prompt"] | None = None
    stream: bool = False
    stream_usage: bool = False
    ignored: tuple[str, ...] = ()


def _joined_parts(value: Any) -> Any:
    """Join OpenAI's content parts where all are text."""
    if isinstance(value, list):
        if not all(isinstance(piece, dict) and piece.get("type") == "text" for piece in value):
            raise ValueError("holds a part that is not text; this model reads text only")
        return "".join(str(piece.get("text", "")) for piece in value)
    return value


def _own_tokens_only(value: Any) -> Any:
    """Refuse more than 0 of vLLM's prompt_logprobs, which counts the alternatives to each token of the prompt."""
    if isinstance(value, int) and value != 0:
        raise ValueError("only 0 is served, the log-likelihoods of the prompt's own tokens")
    return value


class _OpenAIMessage(ChatMessage):
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined_parts)]
    name: str | None = None

    @classmethod
    def _inert_keys(cls, unknown: dict[str, Any]) -> list[str]:
        return [key for key, value in unknown.items() if value in ([], {})]  # annotations=[] and the like


class _StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class _OpenAIBody(OpenBody):
    model: str
    messages: Annotated[list[_OpenAIMessage], Field(min_length=1)]
    temperature: float = Field(default=OPENAI_TEMPERATURE, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: StopStrings = Field(default_factory=list)
    seed: int | None = None
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    add_generation_prompt: bool = True
    prompt_logprobs: Annotated[int, BeforeValidator(_own_tokens_only)] | None = None


def parse_score(body: bytes) -> ChatRequest:
    """Read a request to /score. Raises RequestError (400 broken JSON, 422 what the contract does not know)."""
    score, ignored = _validate(ScoreBody, body)
    data = score.input_data
    options = data.parameters
    return ChatRequest(
        messages=[{"role": message.role, "content": message.content} for message in data.input_string],
        parameters=SamplingParameters(
            temperature=options.temperature if options.do_sample else 0.0,
            top_p=options.top_p,
            max_new_tokens=1 if options.score_last else options.max_new_tokens,
            stop=tuple(options.stop),
            seed=options.seed,
        ),
        complete=options.score_last,
        scored="answer" if options.score_last else None,
        ignored=ignored,
    )


def parse_chat_completion(body: bytes) -> ChatRequest:
    """Read a request to /v1/chat/completions; ``model`` may be any name. Raises RequestError as parse_score."""
    chat, ignored = _validate(_OpenAIBody, body)
    if chat.stream and chat.prompt_logprobs is not None:
        raise RequestError(422, "stream", "prompt_logprobs: not with stream", "prompt_logprobs")
    return ChatRequest(
        messages=[{"role": message.role, "content": message.content} for message in chat.messages],
        parameters=SamplingParameters(
            temperature=chat.temperature,
            top_p=chat.top_p,
            max_new_tokens=chat.max_completion_tokens or chat.max_tokens,
            stop=tuple(chat.stop),
            seed=chat.seed,
        ),
        complete=not chat.add_generation_prompt,
        scored=None if chat.prompt_logprobs is None else "prompt",
        stream=chat.stream,
        stream_usage=chat.stream_options.include_usage,
        ignored=ignored,
    )


def score_body(chat: ChatRequest, generation: Generation) -> dict[str, Any]:
    """Return the answer to /score: the model's, or of ``score_last`` the given one with its log-likelihood in nats."""
    if chat.scored is None:
        return {"output": generation.text}
    log_likelihood = math.fsum(token.log_likelihood for token in generation.scored)
    answer = chat.messages[-1]["content"]
    return {"output": answer, "log_likelihood": log_likelihood, "tokens": len(generation.scored)}


def error_body(error: RequestError) -> dict[str, Any]:
    """Return the one shape of refusals: OpenAI's, which clients of the Azure protocol can read as well."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.parameter, "code": error.code}}


class ChatCompletion:
    """The answers to one OpenAI request: whole, or in chunks that share id and time."""

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, generation: Generation) -> dict[str, Any]:
        """Return the answer of a request without ``stream``."""
        message = {"role": "assistant", "content": generation.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": generation.finish_reason}
        scored = [{str(token.token_id): {"logprob": token.log_likelihood}} for token in generation.scored]
        return self._head | {
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(generation),
            **({"prompt_logprobs": [None, *scored]} if scored else {}),  # vLLM's: the first token follows nothing
        }

    def first(self) -> dict[str, Any]:
        """Return the chunk that opens a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> dict[str, Any]:
        """Return a chunk of text."""
        return self._chunk({"content": text})

    def last(self, generation: Generation) -> dict[str, Any]:
        """Return the chunk that says why the answer ended."""
        return self._chunk({}, generation.finish_reason)

    def usage(self, generation: Generation) -> dict[str, Any]:
        """Return the chunk that stream_options.include_usage asks for."""
        return self._head | {
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": _usage(generation),
        }

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._head | {"object": "chat.completion.chunk", "choices": [choice]}


def _usage(generation: Generation) -> dict[str, int]:
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "total_tokens": generation.prompt_tokens + generation.completion_tokens,
    }


_AnyBody = TypeVar("_AnyBody", bound=Body)


def _validate(model: type[_AnyBody], body: bytes) -> tuple[_AnyBody, tuple[str, ...]]:
    """Return a body that is as it must be, and the keys of it that were ignored."""
    ignored: list[str] = []
    try:
        return model.model_validate_json(body, context=ignored), tuple(ignored)
    except ValidationError as error:
        problem = first_problem(error)
        location = _written(problem.location)
        if problem.kind == "json_invalid":
            raise RequestError(400, "invalid_json", f"the body is not JSON: {problem.context['error']}") from error
        raise RequestError(422, problem.kind, f"{location}: {_reason(model, problem)}", location) from error


def _written(location: tuple[int | str, ...]) -> str:
    """Return where in the body: messages[0].role."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location).lstrip(".") or "the body"


def _reason(model: type[Body], problem: Problem) -> str:
    if problem.kind == "extra_forbidden":
        return explain_unknown(str(problem.location[-1]), body_at(problem.location[:-1], model))
    reason = problem.message.removeprefix("Value error, ")
    value = problem.value
    return reason if isinstance(value, dict | list) else f"{reason}; it is {cut(json.dumps(value), _SHOWN_CHARACTERS)}"
