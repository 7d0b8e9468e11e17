"""Have a model judge one answer by every metric that applies to it."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Union

from judge_prompts import METRICS, JudgePrompt, load_prompts, package_version
from judge_verdict import Judgement, VerdictError, ask_judge, describe_error, is_retryable, max_retries
from openai import OpenAIError
from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.core import tool

_Outcome = Judgement | VerdictError | OpenAIError

# The judgements of lines that will be tried again, each to be used once, so that a retry asks only what is open.
_kept: dict[tuple[str, ...], list[Judgement]] = defaultdict(list)


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
    prompts = [prompt for prompt in load_prompts(model) if all(texts[name].strip() for name in prompt.inputs)]
    outcomes = await asyncio.gather(*(_judge_metric(connection, model, prompt, texts) for prompt in prompts))
    by_metric = {prompt.metric: outcome for prompt, outcome in zip(prompts, outcomes, strict=True)}
    judgements = {metric: outcome for metric, outcome in by_metric.items() if isinstance(outcome, Judgement)}
    errors = {metric: outcome for metric, outcome in by_metric.items() if not isinstance(outcome, Judgement)}
    later = next((error for error in errors.values() if is_retryable(error)), None)
    if later is not None and max_retries() == 0:
        for metric, judgement in judgements.items():
            _kept[_key(metric, model, texts)].append(judgement)
        raise later
    if errors and not judgements:
        raise next(iter(errors.values()))
    return {
        **dict.fromkeys(METRICS),
        **{metric: judgement.score for metric, judgement in judgements.items()},
        "failures": {metric: describe_error(error) for metric, error in errors.items()},
        **_cost(model, prompts, judgements.values()),
    }


def _cost(model: str, prompts: Sequence[JudgePrompt], judgements: Collection[Judgement]) -> dict[str, Any]:
    """Return the tokens that were spent, and who judged by which prompts."""
    return {
        "usage": {
            "prompt_tokens": sum(judgement.prompt_tokens for judgement in judgements),
            "completion_tokens": sum(judgement.completion_tokens for judgement in judgements),
        },
        "judge": {
            "model": model,
            "answered_as": sorted({judgement.model for judgement in judgements if judgement.model}),
            "package": package_version(),
            "prompts": {prompt.metric: prompt.sha256 for prompt in prompts},
        },
    }


async def _judge_metric(connection: Any, model: str, prompt: JudgePrompt, texts: dict[str, str]) -> _Outcome:
    kept = _kept.get(_key(prompt.metric, model, texts))
    if kept:
        return kept.pop()
    try:
        return await ask_judge(connection, prompt.request(texts, connection))
    except (VerdictError, OpenAIError) as error:
        return error


def _key(metric: str, model: str, texts: dict[str, str]) -> tuple[str, ...]:
    return (metric, model, *texts.values())
