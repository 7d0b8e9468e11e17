"""Score one answer against its ground truths."""

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
async def score_line(answer: str, ground_truth: Any, values: list) -> dict[str, Any]:
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
