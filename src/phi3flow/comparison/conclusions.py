"""What a comparison shows of a metric: a verdict, and the sentence that says it."""

from __future__ import annotations

from typing import Literal

from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.stats import ALPHA

Verdict = Literal["better", "worse", "undecided", "no difference", "not comparable"]


def conclude(metric: MetricComparison) -> Verdict:
    """Return what the comparison shows at the 5 % level, by ``p_holm`` where the metric is confirmatory."""
    p = _decisive_p(metric)
    if metric.n == 0 or metric.difference.mean is None:
        return "not comparable"
    if metric.difference.low == metric.difference.high == 0 or metric.wins == metric.losses == 0:
        return "no difference"
    if p is None or p >= ALPHA:
        return "undecided"
    return "better" if (metric.difference.mean > 0) != metric.lower_is_better else "worse"


def describe_verdict(name: str, comparison: Comparison) -> str:
    """Return one sentence on the metric ``name``: what is shown, or what it would take to show it."""
    metric = comparison.metrics[name]
    verdict, difference = conclude(metric), metric.difference
    if verdict == "not comparable":
        return f"{name}: not comparable: no line has a score in both runs."
    if verdict == "no difference":
        return f"{name}: no difference: all {metric.n:,} lines score the same."
    p = _decisive_p(metric)
    evidence = [] if p is None else ["p < 0.001" if p < 0.001 else f"p = {p:.3f}"]
    if difference.low is not None and difference.high is not None:
        evidence.insert(0, f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}")
    evidence.append(f"{metric.n:,} lines")
    finding = f"{difference.mean:+.3f} ({', '.join(evidence)})"
    if verdict != "undecided":
        return f"{name}: {comparison.candidate} is {verdict} than {comparison.baseline}: {finding}."
    sentence = f"{name}: undecided: {finding}."
    if metric.lines_needed is not None:
        sentence += f" A difference of this size takes about {metric.lines_needed:,} lines to show"
        effect = metric.minimum_detectable_effect
        sentence += "" if effect is None else f"; these lines show one of {effect:.3f} or more"
        sentence += " (80 % power)."
    return sentence


def _decisive_p(metric: MetricComparison) -> float | None:
    return metric.p if metric.p_holm is None else metric.p_holm
