"""What an interval says about a rule: passed, failed or undecided, and how many lines would decide it.

A rule passes where its bound of the two-sided 95 % interval satisfies it, so that a run which does not truly meet it
passes with a chance of at most 2.5 %. It fails where even the opposite bound violates it. Between them it is
undecided. Intervals are not widened for several rules: docs/decisions/0010-gates.md.
"""

from __future__ import annotations

from typing import Literal

from phi3flow.gating.plans import plan_comparison, plan_threshold
from phi3flow.gating.rules import COMPARATORS, Better, Comparator, FailedShare, LineCount, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison, Sides
from phi3flow.records.record import Record
from phi3flow.records.scores import Estimate
from phi3flow.text import plural

Outcome = Literal["passed", "failed", "undecided"]


class RuleResult(Record):
    """One rule's outcome.

    ``value``, ``low`` and ``high`` are the metric's, or of candidate minus baseline; ``n`` lines were counted.
    ``threshold`` or ``margin`` is the rule's number. ``lines_needed`` is given for what is undecided.
    """

    rule: str
    outcome: Outcome
    metric: str | None = None
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    threshold: float | None = None
    margin: float | None = None
    lines_needed: int | None = None
    sentence: str


class GateResult(Record):
    """``gate --json``: ``failed`` where any rule failed, else ``undecided`` where any is, else ``passed``."""

    run: str
    baseline: str | None
    outcome: Outcome
    rules: list[RuleResult]
    n_paired: int | None = None
    unmatched: Sides | None = None


def combine(outcomes: list[Outcome]) -> Outcome:
    """Return the gate's outcome: that of its worst rule."""
    order: tuple[Outcome, ...] = ("failed", "undecided", "passed")
    return min(outcomes, key=order.index)


def decide(low: float | None, high: float | None, comparator: Comparator, limit: float) -> Outcome:
    """Return what the interval from ``low`` to ``high`` says about being ``comparator`` (>=, >, <=, <) ``limit``."""
    if low is None or high is None:
        return "undecided"
    worst, best = (low, high) if comparator in (">=", ">") else (high, low)
    holds = COMPARATORS[comparator]
    return "passed" if holds(worst, limit) else "undecided" if holds(best, limit) else "failed"


def check_threshold(rule: Threshold, metric: str, estimate: Estimate) -> RuleResult:
    """Decide ``metric >= 0.6`` by the bound of the metric's interval."""
    outcome = decide(estimate.low, estimate.high, rule.comparator, rule.threshold)
    plan = plan_threshold(rule, estimate, score_range=None) if outcome == "undecided" else None
    needed = None if plan is None else plan.lines
    return RuleResult(
        rule=rule.text,
        outcome=outcome,
        metric=metric,
        value=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        threshold=rule.threshold,
        lines_needed=needed,
        sentence=_threshold_sentence(rule, metric, estimate, outcome, needed),
    )


def check_comparison(rule: NoWorse | Better, metric: str, compared: MetricComparison) -> RuleResult:
    """Decide ``no worse than baseline by`` and ``better than baseline by`` by the paired difference's interval.

    Where lower is better, the difference is mirrored for the decision; what is returned is candidate minus baseline.
    """
    low, high = compared.difference.low, compared.difference.high
    if compared.lower_is_better:
        low, high = (None if bound is None else -bound for bound in (high, low))
    comparator: Comparator = ">=" if isinstance(rule, NoWorse) else ">"
    limit = -rule.margin if isinstance(rule, NoWorse) else rule.margin
    outcome = decide(low, high, comparator, limit)
    plan = plan_comparison(rule, compared, score_range=None) if outcome == "undecided" else None
    needed, for_equal_runs = (None, False) if plan is None else (plan.lines, plan.equal_runs)
    return RuleResult(
        rule=rule.text,
        outcome=outcome,
        metric=metric,
        value=compared.difference.mean,
        low=compared.difference.low,
        high=compared.difference.high,
        n=compared.n,
        margin=rule.margin,
        lines_needed=needed,
        sentence=_comparison_sentence(rule, metric, compared, outcome, needed, for_equal_runs=for_equal_runs),
    )


def check_line_count(rule: LineCount, lines: int, name: str) -> RuleResult:
    """Decide ``lines >= 200`` by the ``lines`` that ``name`` rests on: a count, never undecided."""
    met = COMPARATORS[rule.comparator](lines, rule.threshold)
    relation = f"{'' if met else 'not '}{rule.comparator}"
    return RuleResult(
        rule=rule.text,
        outcome="passed" if met else "failed",
        value=lines,
        n=lines,
        threshold=rule.threshold,
        sentence=f"{name} rests on {plural(lines, 'line')}: {relation} {rule.threshold:,}.",
    )


def check_failed_share(rule: FailedShare, failed: int, total: int) -> RuleResult:
    """Decide ``failed <= 2%``: the share itself, which is no estimate, so never undecided."""
    share = failed / total if total else 0.0
    met = COMPARATORS[rule.comparator](share, rule.threshold)
    relation = f"{'' if met else 'not '}{rule.comparator}"
    return RuleResult(
        rule=rule.text,
        outcome="passed" if met else "failed",
        value=share,
        n=total,
        threshold=rule.threshold,
        sentence=f"{failed:,} of {plural(total, 'line')} failed in the run or in scoring: {100 * share:.4g} % "
        f"(the share itself, without an interval), {relation} {100 * rule.threshold:.4g} %.",
    )


def _threshold_sentence(rule: Threshold, metric: str, estimate: Estimate, outcome: Outcome, needed: int | None) -> str:
    if estimate.mean is None:
        return f"{metric}: undecided: no line has a score."
    limit, above = f"{rule.threshold:g}", rule.comparator in (">=", ">")
    statement = f"{metric} is {estimate.mean:.4f}"
    if estimate.low is None or estimate.high is None:
        return f"{statement}: undecided: it has no interval ({estimate.method}), and only a bound can pass."
    statement += f" (95 % interval {estimate.low:.4f} to {estimate.high:.4f}, {plural(estimate.n, 'line')})"
    if outcome == "passed":
        return f"{statement}: passed: the {'lower' if above else 'upper'} bound is {rule.comparator} {limit}."
    if outcome == "failed":
        return f"{statement}: failed: even the {'upper' if above else 'lower'} bound is not {rule.comparator} {limit}."
    sentence = f"{statement}: undecided: the interval holds {limit}."
    if needed is not None:
        sentence += f" About {plural(needed, 'line')} would decide with 80 % power, if the value stays."
    return sentence


def _comparison_sentence(
    rule: NoWorse | Better,
    metric: str,
    compared: MetricComparison,
    outcome: Outcome,
    needed: int | None,
    *,
    for_equal_runs: bool,
) -> str:
    difference = compared.difference
    if difference.mean is None:
        return f"{metric}: undecided: no line has a score in both runs."
    statement = f"{metric} differs from the baseline by {difference.mean:+.4f}"
    if compared.lower_is_better:
        statement += ", where lower is better"
    if difference.low is None or difference.high is None:
        return f"{statement}: undecided: it has no interval ({compared.method}), and only a bound can pass."
    statement += f" (95 % interval {difference.low:+.4f} to {difference.high:+.4f}, {plural(compared.n, 'line')})"
    sentence = f"{statement}: {outcome}: {_comparison_reason(rule, outcome)}."
    if needed is not None and for_equal_runs:
        sentence += f" Two equal runs take about {plural(needed, 'line')} to pass with 80 % power."
    elif needed is not None:
        sentence += f" About {plural(needed, 'line')} would decide with 80 % power, if the difference stays."
    effect = compared.minimum_detectable_effect
    if effect is not None and 0 < rule.margin < effect:
        least = f"{effect:.4f}, the least difference that these lines show with 80 % power"
        sentence += f" The margin {rule.margin:g} is below {least}."
    return sentence


def _comparison_reason(rule: NoWorse | Better, outcome: Outcome) -> str:
    by = f" by more than {rule.margin:g}" if rule.margin else ""
    if isinstance(rule, NoWorse):
        return {
            "passed": f"a loss of more than {rule.margin:g} is ruled out",
            "failed": f"the run is worse{by}",
            "undecided": f"a loss of more than {rule.margin:g} is neither shown nor ruled out",
        }[outcome]
    return {
        "passed": f"the run is better{by}",
        "failed": f"the run is not better{by}",
        "undecided": f"that the run is better{by} is neither shown nor ruled out",
    }[outcome]
