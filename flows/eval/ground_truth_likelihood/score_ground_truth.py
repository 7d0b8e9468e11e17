"""How likely the model behind the connection finds a line's ground truth."""

from typing import Any

from likelihood_endpoint import score_last_message, why_no_likelihood
from likelihood_figures import perplexity
from promptflow.connections import CustomConnection
from promptflow.core import tool

_METRICS = ("log_likelihood", "tokens", "perplexity", "corpus_perplexity")


@tool
async def score_ground_truth(
    connection: CustomConnection, question: str, chat_history: list, ground_truth: Any, context: str = ""
) -> dict[str, Any]:
    """Return the log-likelihood (nats) of the ground truth as the next answer, its tokens, and its perplexity.

    The tokens are the answer's alone, with those that end it. ``perplexity_statistics`` are the counts from which
    the run's perplexity is made. ``absent`` says by metric why there is none, where the endpoint tells no likelihood:
    then the figures are None. Raises likelihood_endpoint.EndpointError where it fails.
    """
    messages = [
        *([{"role": "system", "content": context}] if context.strip() else []),
        *_history_messages(chat_history),
        {"role": "user", "content": question},
        {"role": "assistant", "content": read_ground_truths(ground_truth)[0]},
    ]
    reason = await why_no_likelihood(connection)
    if reason is not None:
        return {**dict.fromkeys((*_METRICS, "perplexity_statistics")), "absent": dict.fromkeys(_METRICS, reason)}
    log_likelihood, tokens = await score_last_message(connection, messages)
    return {
        "log_likelihood": log_likelihood,
        "tokens": tokens,
        "perplexity": perplexity(log_likelihood, tokens),
        "perplexity_statistics": [log_likelihood, tokens],
        "absent": {},
    }


def read_ground_truths(ground_truth: Any) -> list[str]:
    """Return the ground truths of a line: one text, or a list's. A text that is written like a list is a text.

    Raises ValueError where there is none.
    """
    truths = ground_truth if isinstance(ground_truth, list) else [ground_truth]
    if not truths:
        raise ValueError("ground_truth is an empty list: a line needs at least one ground truth")
    for truth in truths:
        if not isinstance(truth, str | int | float):
            raise ValueError(f"ground_truth holds {truth!r:.80}: it is a text, or a list of texts of which any will do")
    return [str(truth) for truth in truths]


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
