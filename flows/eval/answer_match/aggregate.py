"""Aggregate the lines' scores into the run's metrics."""

from statistics import fmean
from typing import Any

from answer_match_metrics import bleu, chrf
from promptflow.core import log_metric, tool


@tool
def aggregate(line_scores: list) -> dict[str, float]:
    """Log each metric's mean over the lines that have it, and BLEU and chrF of the whole run."""
    if not line_scores:
        return {}
    metrics = {}
    for name in line_scores[0]:
        scores = [line[name] for line in line_scores if line[name] is not None]
        if scores and not name.endswith("_statistics"):
            metrics[name] = fmean(scores)
    metrics["corpus_bleu"] = bleu(_add(line_scores, "bleu_statistics"), corpus=True)
    metrics["corpus_chrf"] = chrf(_add(line_scores, "chrf_statistics"))
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics


def _add(line_scores: list[dict[str, Any]], name: str) -> list[int]:
    return [sum(counts) for counts in zip(*(line[name] for line in line_scores), strict=True)]
