"""The node ``chat``: the prompt, the history and the question go to the endpoint as messages; its answer comes back."""

import re

from phi3_endpoint import complete
from promptflow.connections import CustomConnection
from promptflow.core import tool

_ROLE_LINE = re.compile(r"^#[ \t]*(system|user|assistant)[ \t]*:[ \t]*$", re.MULTILINE)


@tool
async def chat(
    connection: CustomConnection,
    system_prompt: str,
    chat_history: list,
    question: str,
    temperature: float = 0.7,
    max_new_tokens: int = 128,
) -> str:
    """Return the endpoint's answer to ``question``.

    Only ``system_prompt`` is read for role lines: history and question are data, and become one message each
    whatever they contain. Raises phi3_endpoint.EndpointError.
    """
    messages = [
        *_prompt_messages(system_prompt),
        *_history_messages(chat_history),
        {"role": "user", "content": question},
    ]
    return await complete(connection, messages, temperature=temperature, max_new_tokens=max_new_tokens)


def _prompt_messages(prompt: str) -> list[dict[str, str]]:
    """Split at lines such as ``# system:``; text before the first one is the system message."""
    first, *pieces = _ROLE_LINE.split(prompt)
    sections = [("system", first), *zip(pieces[::2], pieces[1::2], strict=True)]
    return [{"role": role, "content": content.strip()} for role, content in sections if content.strip()]


def _history_messages(chat_history: list) -> list[dict[str, str]]:
    messages = []
    for number, turn in enumerate(chat_history):
        try:
            question, answer = turn["inputs"]["question"], turn["outputs"]["answer"]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'chat_history[{number}] is not of the form {{"inputs": {{"question": …}}, "outputs": {{"answer": …}}}}'
            ) from error
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages
