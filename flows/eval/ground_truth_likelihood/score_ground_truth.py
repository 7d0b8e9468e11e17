"""How likely the model behind the connection finds a line's ground truth."""

import ast
from typing import Any

from likelihood_endpoint import score_last_message
from likelihood_figures import perplexity
from promptflow.connections import CustomConnection
from promptflow.core import tool


@tool
async def score_ground_truth(
    connection: CustomConnection, question: str, chat_history: list, ground_truth: str, context: str = ""
) -> dict[str, Any]:
    """Return the log-likelihood (nats) of the ground truth as the next answer, its tokens, and its perplexity.

    The tokens are the answer's alone, with those that end it. ``perplexity_statistics`` are the counts from which
    the run's perplexity is made. Raises likelihood_endpoint.EndpointError, which says so where the endpoint cannot.
    """
    messages = [
        *([{"role": "system", "content": context}] if context.strip() else []),
        *_history_messages(chat_history),
        {"role": "user", "content": question},
        {"role": "assistant", "content": read_ground_truths(ground_truth)[0]},
    ]
    log_likelihood, tokens = await score_last_message(connection, messages)
    return {
        "log_likelihood": log_likelihood,
        "tokens": tokens,
        "perplexity": perplexity(log_likelihood, tokens),
        "perplexity_statistics": [log_likelihood, tokens],
    }


def read_ground_truths(ground_truth: str) -> list[str]:
    """Return the ground truths that the input holds: one text, or a list's.

    Prompt flow has no input type for "a string or a list": `object` would turn the text 1.10 into the number
    1.1. A `string` input gets a list as Python writes it, which is exact, and is read back here.
    """
    if ground_truth.startswith("[") and ground_truth.endswith("]"):
        try:
            listed = ast.literal_eval(ground_truth)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [ground_truth]
        if listed == []:
            raise ValueError("ground_truth is an empty list: a line needs at least one ground truth")
        if isinstance(listed, list) and all(isinstance(item, str | int | float) for item in listed):
            return [str(item) for item in listed]
    return [ground_truth]


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
