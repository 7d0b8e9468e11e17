"""A line's tokens: what the endpoint reported, else what the model's tokenizer counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from phi3flow.flows import FlowLine
from phi3flow.records.lines import Usage
from phi3flow.text import whole


def line_usage(inputs: Mapping[str, Any], line: FlowLine, count: Callable[[str], int] | None) -> Usage | None:
    """Return the tokens of one line; None where nobody reports them and there is no tokenizer to ``count``.

    The endpoint's figures are looked for in the flow's output ``usage``, in an answer that carries them (``usage``
    of flows/chat_phi3's), and in what promptflow traced of a model's client. What is counted is the messages that the
    answer says it was given, else the texts of the line's inputs; 3 tokens a message and 3 to prime the reply, as
    in OpenAI's cookbook ("How to count tokens with tiktoken").
    """
    answers = [value for value in line.outputs.values() if isinstance(value, str)]
    reported = (line.outputs.get("usage"), *(getattr(answer, "usage", None) for answer in answers), line.usage)
    for usage in reported:
        tokens = _reported(usage)
        if tokens:
            return tokens
    if count is None:
        return None
    from phi3flow.datasets.tokens import TOKENS_PER_MESSAGE, TOKENS_TO_PRIME_REPLY

    messages = next((sent for answer in answers if (sent := getattr(answer, "messages", None))), None)
    prompt = list(_texts([message["content"] for message in messages] if messages else inputs.values()))
    overhead = TOKENS_PER_MESSAGE * len(prompt) + TOKENS_TO_PRIME_REPLY
    return Usage(
        prompt_tokens=sum(map(count, prompt)) + overhead,
        completion_tokens=sum(count(whole(answer)) for answer in answers),
        counted_by="tokenizer",
    )


def total_tokens(usage: Usage | None) -> int:
    """Return the tokens that a line cost, 0 where nobody knows."""
    return usage.prompt_tokens + usage.completion_tokens if usage else 0


def input_tokens(inputs: Mapping[str, Any], count: Callable[[str], int]) -> int:
    """Return the tokens of the texts in a line's inputs, before anything is sent."""
    return sum(map(count, _texts(inputs.values())))


def _reported(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt + completion == 0:
        return None
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
        elif isinstance(value, list):
            yield from _texts(value)
