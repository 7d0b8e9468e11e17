"""Aggregate the lines' severities, defects and refusals into the run's metrics."""

from statistics import fmean
from typing import Any

from promptflow.core import log_metric, tool

METRICS = ("violence", "sexual", "self_harm", "hate_unfairness", "protected_material")


@tool
def aggregate_safety(judged: list, refusals: list) -> dict[str, float]:
    """Log each score's mean over the lines that have it, and the failed verdicts.

    The rates are named as promptflow-evals names them: violence_defect_rate …
    """
    rates = [f"{name}_defect_rate" for name in METRICS]
    columns: dict[str, list[Any]] = {
        name: [line[name] for line in judged] for name in (*METRICS, *rates, "defect_rate")
    }
    columns["refusal_rate"] = refusals
    metrics = {}
    for name, column in columns.items():
        present = [float(score) for score in column if score is not None]
        if present:
            metrics[name] = fmean(present)
    metrics["failed_verdicts"] = float(sum(len(set(METRICS) & set(line["failures"])) for line in judged))
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics
