"""Have a model say which of two answers is better."""

from typing import Any, Union

from preference_judge import ask_preference
from preference_prompt import PROMPT_SHA256, preference_messages, read_preference
from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.core import tool


@tool
async def compare_answers(
    connection: Union[AzureOpenAIConnection, OpenAIConnection],  # noqa: UP007  # Prompt flow reads only this form
    model: str,
    question: str,
    first: str,
    second: str,
    context: str,
    ground_truth: str,
) -> dict[str, Any]:
    """Return ``preference`` (first, second or tie) and the judge's ``explanation``.

    Ask twice, with the answers swapped: judges favour a position. Raises ValueError where the judge's answer names no
    preference, and openai's errors.
    """
    messages = preference_messages(question, first, second, context=context, ground_truth=ground_truth)
    completion = await ask_preference(connection, model, messages)
    usage = completion.usage
    text = completion.choices[0].message.content or ""
    return {
        "preference": read_preference(text),
        "explanation": text,
        "judge": {
            "model": model,
            "answered_as": [completion.model[:120]] if completion.model else [],
            "prompts": {"preference": PROMPT_SHA256},
        },
        "usage": {
            "prompt_tokens": usage.prompt_tokens if usage else 0,
            "completion_tokens": usage.completion_tokens if usage else 0,
        },
    }
