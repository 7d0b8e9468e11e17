"""The sentences that say what a comparison shows of a metric."""

from __future__ import annotations

from phi3flow.records.comparisons import AnsweredOnly, Comparison, Difference, MetricComparison, Sides
from phi3flow.text import confidence, plural


def describe_verdict(name: str, comparison: Comparison) -> str:
    """Return what is shown of the metric ``name`` and by what, then why nothing is or what is to be known about it."""
    metric = comparison.metrics[name]
    subject = name if metric.confirmatory else f"{name} (exploratory)"
    sentences = [f"{subject}: {_claim(metric, comparison)}{_finding(metric, comparison)}."]
    if metric.reason:
        sentences.append(f"{metric.reason[0].upper()}{metric.reason[1:]}.")
    if metric.answered_only:
        sentences.append(_second_reading(metric, metric.answered_only))
    return " ".join(sentences)


def describe_p(metric: MetricComparison) -> str | None:
    """Return the p that decides by its name, "p_holm = 0.012" for a confirmatory metric; None where there is none."""
    name, p = ("p", metric.p) if metric.p_holm is None else ("p_holm", metric.p_holm)
    return None if p is None else f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}"


def describe_failures(failed: Sides, *, baseline: str, candidate: str) -> str | None:
    """Return "12 lines of base and 40 lines of tuned failed", None where none did."""
    counts = _count_sides(failed, "line", baseline, candidate)
    return f"{counts} failed" if counts else None


def describe_unscored(unscored: Sides, *, baseline: str, candidate: str) -> str | None:
    """Return "3 answers of tuned could not be scored", None where all could."""
    counts = _count_sides(unscored, "answer", baseline, candidate)
    return f"{counts} could not be scored" if counts else None


def _count_sides(sides: Sides, noun: str, baseline: str, candidate: str) -> str:
    runs = [(sides.baseline, baseline), (sides.candidate, candidate)]
    return " and ".join(f"{plural(count, noun)} of {run}" for count, run in runs if count)


def _claim(metric: MetricComparison, comparison: Comparison) -> str:
    if metric.verdict == "undecided":
        return "undecided"
    if metric.verdict == "equivalent":
        return f"{comparison.candidate} is equivalent to {comparison.baseline} within {metric.margin:g}"
    return f"{comparison.candidate} is {metric.verdict} than {comparison.baseline}"


def _finding(metric: MetricComparison, comparison: Comparison) -> str:
    interval, evidence = _interval(metric.difference), list[str]()
    if interval:
        evidence.append(f"{confidence(metric.level)} interval {interval}")
    if shared := metric.simultaneous and _interval(metric.simultaneous):
        evidence.append(f"at the level that all tests share {shared}")
    if p := describe_p(metric):
        evidence.append(p)
    if metric.n:
        evidence.append(plural(metric.n, "line"))
    if metric.lower_is_better:
        evidence.append("lower is better")
    failures = describe_failures(metric.failed, baseline=comparison.baseline, candidate=comparison.candidate)
    remarks = "; ".join(filter(None, [", ".join(evidence), failures]))
    difference = "" if metric.difference.mean is None else f": {metric.difference.mean:+.3f}"
    return f"{difference} ({remarks})" if remarks else difference


def _second_reading(metric: MetricComparison, answered: AnsweredOnly) -> str:
    text = f"Both answered {plural(answered.n, 'line')}: {metric.verdict_answered_only}"
    if answered.difference.mean is None:
        return f"{text}."
    interval = _interval(answered.difference)
    return f"{text}, {answered.difference.mean:+.3f}{f' ({interval})' if interval else ''}."


def _interval(difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return ""
    return f"{difference.low:+.3f} to {difference.high:+.3f}"
