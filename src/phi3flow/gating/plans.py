"""How many lines would decide a rule that is undecided.

Sources:
    Fleiss, Levin, Paik 2003, Statistical Methods for Rates and Proportions, 3rd ed., chapter 2 (lines for a share)
    Julious 2004, Statistics in Medicine 23:1921 (lines for non-inferiority)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.stats import ALPHA, POWER, lines_needed

_Z = float(special.ndtri(1 - ALPHA / 2))
_Z_POWER = float(special.ndtri(POWER))


@dataclass(frozen=True)
class Plan:
    """So many ``lines`` decide with 80 % power, if what was observed stays, or (``equal_runs``) two runs are equal."""

    lines: int
    equal_runs: bool = False


def lines_for_share(share: float, limit: float, *, design_effect: float = 1.0) -> int | None:
    """Return how many lines tell ``share`` from ``limit`` with 80 % power by Wilson's interval.

    ((z_0.975 sqrt(limit (1 - limit)) + z_0.8 sqrt(share (1 - share))) / (share - limit))^2, times the design effect
    where lines share a conversation (Fleiss et al. 2003). At share 0 it is where the upper bound reaches the limit.
    """
    if not 0 < limit < 1 or share == limit:
        return None
    deviations = _Z * math.sqrt(limit * (1 - limit)) + _Z_POWER * math.sqrt(share * (1 - share))
    return math.ceil(design_effect * (deviations / (share - limit)) ** 2)


def plan_threshold(rule: Threshold, estimate: Estimate) -> Plan | None:
    """Return the lines that tell the mean from the rule's number, if it stays where it is."""
    if estimate.mean is None or estimate.se is None or estimate.low is None or estimate.high is None:
        return None
    distance = estimate.mean - rule.threshold
    if "wilson" in estimate.method:
        needed = lines_for_share(estimate.mean, rule.threshold, design_effect=_design_effect(estimate))
    else:
        needed = lines_needed(estimate.se * math.sqrt(estimate.n), distance) if distance and estimate.se else None
    return None if needed is None else Plan(max(needed, estimate.n + 1))


def plan_comparison(rule: NoWorse | Better, compared: MetricComparison) -> Plan | None:
    """Return the lines that decide a rule against the baseline.

    ``((z_0.975 + z_0.8) * deviation / effect)^2`` (Julious 2004). Non-inferiority is planned for runs that are truly
    equal: the effect is the margin. Where these lines are enough for that, and for superiority, the effect is what was
    observed: the distance of the difference from the rule's limit.
    """
    mean = compared.difference.mean
    if not compared.se or mean is None:
        return None
    mean = -mean if compared.lower_is_better else mean
    deviation = compared.se * math.sqrt(compared.n)
    if isinstance(rule, NoWorse) and (equal_runs := lines_needed(deviation, rule.margin)) > compared.n:
        return Plan(equal_runs, equal_runs=True)
    distance = mean - (-rule.margin if isinstance(rule, NoWorse) else rule.margin)
    return Plan(max(lines_needed(deviation, distance), compared.n + 1)) if distance else None


def _design_effect(estimate: Estimate) -> float:
    """Return lines for one independent line; where all agree, from Wilson's open bound z^2 / (effective n + z^2)."""
    share, se = estimate.mean or 0.0, estimate.se or 0.0
    if se:
        return max(1.0, estimate.n * se**2 / (share * (1 - share)))
    width = (estimate.high or 0.0) - (estimate.low or 0.0)
    return max(1.0, estimate.n * width / (_Z**2 * (1 - width))) if width < 1 else 1.0
