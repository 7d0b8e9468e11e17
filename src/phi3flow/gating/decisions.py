"""What an interval says about a rule: passed, failed or undecided, and how many lines would decide it.

A rule passes where its bound of the two-sided 95 % interval satisfies it, so that a run which does not truly meet it
passes with a chance of at most 2.5 %. It fails where even the opposite bound violates it. Between them it is
undecided. Intervals are not widened for several rules: docs/decisions/0010-gates.md.

Sources:
    Fleiss, Levin, Paik 2003, Statistical Methods for Rates and Proportions, 3rd ed., chapter 2 (lines for a share)
    Julious 2004, Statistics in Medicine 23:1921 (lines for non-inferiority)
"""

from __future__ import annotations

import math
from typing import Literal

from scipy import special

from phi3flow.gating.rules import COMPARATORS, Better, Comparator, FailedShare, LineCount, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison, Sides
from phi3flow.records.record import Record
from phi3flow.records.scores import Estimate
from phi3flow.stats import ALPHA, POWER, lines_needed
from phi3flow.text import plural

Outcome = Literal["passed", "failed", "undecided"]

_Z = float(special.ndtri(1 - ALPHA / 2))
_Z_POWER = float(special.ndtri(POWER))


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
    needed = _lines_for_threshold(estimate, rule.threshold) if outcome == "undecided" else None
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
    mean, low, high = compared.difference.mean, compared.difference.low, compared.difference.high
    if compared.lower_is_better:
        mean, low, high = (None if bound is None else -bound for bound in (mean, high, low))
    comparator: Comparator = ">=" if isinstance(rule, NoWorse) else ">"
    limit = -rule.margin if isinstance(rule, NoWorse) else rule.margin
    outcome = decide(low, high, comparator, limit)
    needed, for_equal_runs = None, False
    if outcome == "undecided" and compared.se and mean is not None:
        needed, for_equal_runs = _lines_for_difference(
            rule, compared.se * math.sqrt(compared.n), mean - limit, compared.n
        )
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


def lines_for_share(share: float, limit: float, *, design_effect: float = 1.0) -> int | None:
    """Return how many lines tell ``share`` from ``limit`` with 80 % power by Wilson's interval.

    ((z_0.975 sqrt(limit (1 - limit)) + z_0.8 sqrt(share (1 - share))) / (share - limit))^2, times the design effect
    where lines share a conversation (Fleiss et al. 2003). At share 0 it is where the upper bound reaches the limit.
    """
    if not 0 < limit < 1 or share == limit:
        return None
    deviations = _Z * math.sqrt(limit * (1 - limit)) + _Z_POWER * math.sqrt(share * (1 - share))
    return math.ceil(design_effect * (deviations / (share - limit)) ** 2)


def _lines_for_threshold(estimate: Estimate, limit: float) -> int | None:
    """Return how many lines tell the mean from ``limit``, if it stays where it is; None where nobody can say."""
    if estimate.mean is None or estimate.se is None or estimate.low is None or estimate.high is None:
        return None
    distance = estimate.mean - limit
    if estimate.method in ("wilson", "clustered wilson"):
        needed = lines_for_share(estimate.mean, limit, design_effect=_design_effect(estimate))
    else:
        needed = lines_needed(estimate.se * math.sqrt(estimate.n), distance) if distance and estimate.se else None
    return None if needed is None else max(needed, estimate.n + 1)


def _design_effect(estimate: Estimate) -> float:
    """Return lines for one independent line; where all agree, from Wilson's open bound z^2 / (effective n + z^2)."""
    share, se = estimate.mean or 0.0, estimate.se or 0.0
    if se:
        return max(1.0, estimate.n * se**2 / (share * (1 - share)))
    width = (estimate.high or 0.0) - (estimate.low or 0.0)
    return max(1.0, estimate.n * width / (_Z**2 * (1 - width))) if width < 1 else 1.0


def _lines_for_difference(rule: NoWorse | Better, deviation: float, distance: float, n: int) -> tuple[int | None, bool]:
    """Return how many lines would decide at 80 % power, and whether that is planned for two equal runs.

    ``((z_0.975 + z_0.8) * deviation / effect)^2`` (Julious 2004). Non-inferiority is planned for runs that are truly
    equal: the effect is the margin. Where these lines are enough for that, and for superiority, the effect is what was
    observed: the ``distance`` of the difference from the rule's limit.
    """
    if isinstance(rule, NoWorse) and (for_equal_runs := lines_needed(deviation, rule.margin)) > n:
        return for_equal_runs, True
    return (max(lines_needed(deviation, distance), n + 1) if distance else None), False


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
