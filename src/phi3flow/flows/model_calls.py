"""The calls of openai's client that a line makes: their tokens, and what was sent where the line is traced.

promptflow knows them from its own traces, which are off: they take longer than the call of a fast endpoint.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from phi3flow.flows.bounded_answers import bound_answers_of_openai
from phi3flow.flows.observed import note_call, traces_calls

_NOT_SHOWN = ("extra_headers", "headers", "api_key", "http_client")


def note_calls_of_openai() -> None:
    """Have openai's client, which is loaded, tell of its calls, and read no answer without end."""
    from promptflow.tracing._integrations._openai_injector import available_openai_apis_and_injectors

    bound_answers_of_openai()
    for client, method, *_ in available_openai_apis_and_injectors():
        call = getattr(client, method)
        if not hasattr(call, "_noted"):
            noted = _noted(call)
            noted._noted = call  # type: ignore[attr-defined]
            setattr(client, method, noted)


def _noted(call: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def ask(*args: Any, **request: Any) -> Any:
            answer = await call(*args, **request)
            _note(request, answer)
            return answer

    else:

        @functools.wraps(call)
        def ask(*args: Any, **request: Any) -> Any:
            answer = call(*args, **request)
            _note(request, answer)
            return answer

    return ask


def _note(request: Mapping[str, Any], answer: Any) -> None:
    usage = getattr(answer, "usage", None)
    counts = {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
    if not traces_calls():
        note_call({}, None, counts)
        return
    shown = {name: value for name, value in request.items() if name not in _NOT_SHOWN}
    dump = getattr(answer, "model_dump", None)  # a stream has none
    note_call(shown, dump(mode="json", exclude_none=True) if dump else answer, counts)
