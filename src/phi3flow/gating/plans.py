"""How many lines would decide a rule that is undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison
from phi3flow.records.scores import Estimate, ScoreRange
from phi3flow.stats import UNIT, Discordance, Share, Spread, wilson_interval


@dataclass(frozen=True)
class Plan:
    """So many ``lines`` decide with 80 % power, if what was observed stays, or (``equal_runs``) two runs are equal."""

    lines: int
    equal_runs: bool = False


def plan_threshold(rule: Threshold, estimate: Estimate, *, score_range: ScoreRange | None) -> Plan | None:
    """Return the lines that tell the mean from the rule's number, if it stays where it is.

    ``score_range`` is the metric's, None where it has none.
    """
    if estimate.mean is None or estimate.se is None or estimate.low is None or estimate.high is None:
        return None
    if "wilson" in estimate.method:
        low, high = score_range or UNIT
        share, limit = (estimate.mean - low) / (high - low), (rule.threshold - low) / (high - low)
        needed = Share(_design_effect(estimate, share, high - low)).lines_needed(share, limit=limit)
    else:
        spread = Spread(estimate.se * math.sqrt(estimate.n), ends=score_range, weight=1.0)
        needed = spread.lines_needed(estimate.mean, limit=rule.threshold)
    return None if needed is None else Plan(max(needed, estimate.n + 1))


def plan_comparison(
    rule: NoWorse | Better, compared: MetricComparison, *, score_range: ScoreRange | None
) -> Plan | None:
    """Return the lines that decide a rule against the baseline.

    Non-inferiority is planned for runs that are truly equal (Julious 2004, Statistics in Medicine 23:1921). Where these
    lines are enough for that, and for superiority, the plan is for the difference that was observed.
    """
    if compared.difference.mean is None or compared.se is None:
        return None
    scatter, limit = _scatter(compared, score_range), -rule.margin if isinstance(rule, NoWorse) else rule.margin
    if isinstance(rule, NoWorse):
        equal_runs = scatter.lines_needed(0.0, limit=limit)
        if equal_runs is not None and equal_runs > compared.n:
            return Plan(equal_runs, equal_runs=True)
    mean = -compared.difference.mean if compared.lower_is_better else compared.difference.mean
    needed = scatter.lines_needed(mean, limit=limit)
    return None if needed is None else Plan(max(needed, compared.n + 1))


def detectable_difference(compared: MetricComparison, *, score_range: ScoreRange | None) -> float | None:
    """Return the least true difference from 0 that these lines show with 80 % power, at the level of a gate's rule."""
    return _scatter(compared, score_range).minimum_detectable_effect(compared.n) if compared.se is not None else None


def _scatter(compared: MetricComparison, score_range: ScoreRange | None) -> Discordance | Spread:
    low, high = score_range or UNIT
    if compared.method.startswith("Tango"):
        return Discordance(((compared.wins or 0) + (compared.losses or 0)) / compared.n, high - low)
    deviation = (compared.se or 0.0) * math.sqrt(compared.n)
    return Spread(deviation, ends=None if score_range is None else (low - high, high - low))


def _design_effect(estimate: Estimate, share: float, width: float) -> float:
    """Return lines for one independent line; where all agree, by the width of Wilson's interval for one."""
    se, n = (estimate.se or 0.0) / width, estimate.n
    if se:
        return max(1.0, n * se**2 / (share * (1 - share)))
    low, high = wilson_interval(share, 1)
    open_bound = ((estimate.high or 0.0) - (estimate.low or 0.0)) / width  # z^2 / (independent lines + z^2)
    single = float(high - low)  # z^2 / (1 + z^2)
    return max(1.0, n * open_bound * (1 - single) / (single * (1 - open_bound))) if open_bound < 1 else 1.0
