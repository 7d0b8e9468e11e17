"""Aggregate the lines' verdicts into the run's metrics."""

from statistics import fmean

from promptflow.core import log_metric, tool


@tool
def aggregate_verdicts(line_verdicts: list) -> dict[str, float]:
    """Log each metric's mean over the lines that have it, and how many verdicts failed."""
    metrics = {}
    for name in ("relevance", "coherence", "fluency", "similarity", "groundedness"):
        scores = [line[name] for line in line_verdicts if line[name] is not None]
        if scores:
            metrics[name] = fmean(scores)
    metrics["failed_verdicts"] = float(sum(len(line["failures"]) for line in line_verdicts))
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics
