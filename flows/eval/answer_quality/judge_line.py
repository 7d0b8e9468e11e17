"""Have a model judge one answer by every metric that applies to it."""

import asyncio
from collections import defaultdict
from typing import Any, Union

from judge_prompts import METRICS, JudgePrompt, load_prompts, package_version
from judge_verdict import Verdict, VerdictError, ask_judge, describe_error, is_retryable, max_retries
from openai import OpenAIError
from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.core import tool

# The verdicts of lines that will be tried again, each to be used once, so that a retry asks only what is open.
_kept: dict[tuple[str, ...], list[Verdict]] = defaultdict(list)


@tool
async def judge_line(
    connection: Union[AzureOpenAIConnection, OpenAIConnection],  # noqa: UP007  # Prompt flow reads only this form
    model: str,
    answer: str,
    question: str,
    context: str,
    ground_truth: str,
) -> dict[str, Any]:
    """Return each metric's score from 1 to 5: None where its prompt lacks a text, or where ``failures`` says why.

    Raises ValueError for an empty answer; the judge's error where no metric got a verdict, or, with
    PHI3_MAX_RETRIES=0, where a later try may get one.
    """
    if not answer.strip():
        raise ValueError("answer is empty: there is nothing to judge")
    texts = {"answer": answer, "question": question, "context": context, "ground_truth": ground_truth}
    prompts = [one for one in load_prompts(model) if all(texts[name].strip() for name in one.inputs)]
    keys = [(one.metric, model, *texts.values()) for one in prompts]
    asked = (_judge(connection, one, texts, key) for one, key in zip(prompts, keys, strict=True))
    outcomes = await asyncio.gather(*asked)
    verdicts = {key: one for key, one in zip(keys, outcomes, strict=True) if isinstance(one, Verdict)}
    errors = {key[0]: one for key, one in zip(keys, outcomes, strict=True) if not isinstance(one, Verdict)}
    later = next((error for error in errors.values() if is_retryable(error)), None)
    if later is not None and max_retries() == 0:
        for key, verdict in verdicts.items():
            _kept[key].append(verdict)
        raise later
    if errors and not verdicts:
        raise next(iter(errors.values()))
    return {
        **dict.fromkeys(METRICS),
        **{key[0]: verdict.score for key, verdict in verdicts.items()},
        "failures": {metric: describe_error(error) for metric, error in errors.items()},
        "usage": {
            "prompt_tokens": sum(verdict.prompt_tokens for verdict in verdicts.values()),
            "completion_tokens": sum(verdict.completion_tokens for verdict in verdicts.values()),
        },
        "judge": {
            "model": model,
            "answered_as": sorted({verdict.model for verdict in verdicts.values() if verdict.model}),
            "package": package_version(),
            "prompts": {one.metric: one.sha256 for one in prompts},
        },
    }


async def _judge(
    connection: Any, prompt: JudgePrompt, texts: dict[str, str], key: tuple[str, ...]
) -> Verdict | VerdictError | OpenAIError:
    if _kept.get(key):
        return _kept[key].pop()
    try:
        return await ask_judge(connection, prompt.request(texts, connection))
    except (VerdictError, OpenAIError) as error:
        return error
