"""Score one answer against its ground truths."""

import ast
from typing import Any

from answer_match_metrics import (
    bleu,
    bleu_statistics,
    chrf,
    chrf_statistics,
    exact_match,
    exact_match_unicode,
    f1,
    f1_unicode,
    rouge,
    value_accuracy,
)
from promptflow.core import tool


@tool
async def score_line(answer: str, ground_truth: str, values: list) -> dict[str, Any]:
    """Return every metric of the line, and the counts from which the run's BLEU and chrF are made.

    It awaits nothing; it is async because Prompt flow starts a thread for each call of a tool that is not.
    """
    truths = read_ground_truths(ground_truth)
    bleu_counts = bleu_statistics(answer, truths)
    chrf_counts = chrf_statistics(answer, truths)
    return {
        "exact_match": exact_match(answer, truths),
        "f1": f1(answer, truths),
        **rouge(answer, truths),
        "bleu": bleu(bleu_counts),
        "chrf": chrf(chrf_counts),
        "value_accuracy": value_accuracy(answer, values),
        "exact_match_unicode": exact_match_unicode(answer, truths),
        "f1_unicode": f1_unicode(answer, truths),
        "bleu_statistics": bleu_counts,
        "chrf_statistics": chrf_counts,
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
