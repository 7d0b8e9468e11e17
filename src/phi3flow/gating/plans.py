"""How many lines would decide a rule that is undecided."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison
from phi3flow.records.scores import Estimate, ScoreRange
from phi3flow.stats import (
    LEAST_CONVERSATIONS,
    UNIT,
    Discordance,
    Share,
    Spread,
    clustered_share_interval,
    enough_lines,
)


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
    unit, length = _unit(estimate.n, estimate.df), _length(estimate.n, estimate.conversations)
    spread = Spread.of_scores(estimate.se * math.sqrt(estimate.n), score_range, unit=unit, length=length)
    needed = spread.lines_needed(estimate.mean, limit=rule.threshold)
    if "wilson" in estimate.method:
        needed = _lines_of_share(rule, estimate, score_range or UNIT, by_mean=needed)
    return None if needed is None else Plan(max(needed, estimate.n + 1))


def _lines_of_share(rule: Threshold, estimate: Estimate, ends: ScoreRange, *, by_mean: int | None) -> int | None:
    """Return the lines that tell a share from the rule's number; where they share conversations, the wider interval's.

    ``by_mean`` are those that the mean's interval takes.
    """
    low, high = ends
    share, limit = ((value - low) / (high - low) for value in (estimate.mean or 0.0, rule.threshold))
    effect = _design_effect(estimate, share, high - low)
    needed = Share(effect).lines_needed(share, limit=limit)
    if needed is None or "clustered" not in estimate.method:
        return needed
    if not estimate.se:
        return math.ceil(effect * _agreeing_conversations(share, limit))
    return max(needed, by_mean or 0)


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

    def lines_needed(mean: float) -> int | None:
        needed = scatter.lines_needed(mean, limit=limit)
        return enough_lines(needed, n=compared.n, conversations=compared.conversations)

    if isinstance(rule, NoWorse):
        equal_runs = lines_needed(0.0)
        if equal_runs is not None and equal_runs > compared.n:
            return Plan(equal_runs, equal_runs=True)
    mean = -compared.difference.mean if compared.lower_is_better else compared.difference.mean
    needed = lines_needed(mean)
    return None if needed is None else Plan(max(needed, compared.n + 1))


def detectable_difference(compared: MetricComparison, *, score_range: ScoreRange | None) -> float | None:
    """Return the least true difference from 0 that these lines show with 80 % power, at the level of a gate's rule.

    None where they show none, however large it is.
    """
    if compared.se is None or compared.difference.low is None:
        return None
    return _scatter(compared, score_range).minimum_detectable_effect(compared.n)


def _scatter(compared: MetricComparison, score_range: ScoreRange | None) -> Discordance | Spread:
    low, high = score_range or UNIT
    if compared.method.startswith("Tango"):
        return Discordance(((compared.wins or 0) + (compared.losses or 0)) / compared.n, high - low)
    deviation, unit = (compared.se or 0.0) * math.sqrt(compared.n), _unit(compared.n, compared.df)
    length = _length(compared.n, compared.conversations)
    return Spread.of_differences(deviation, high - low if score_range else None, unit=unit, length=length)


def _unit(n: int, df: float | None) -> float:
    """Return how many lines make a degree of freedom."""
    return 1.0 if df is None else n / (df + 1)


def _length(n: int, conversations: int | None) -> float | None:
    """Return a conversation's mean number of lines."""
    return None if conversations is None else n / conversations


def _agreeing_conversations(share: float, limit: float) -> int:
    """Return how many conversations of one length, which all score 0 or all 1, have an interval without ``limit``."""

    def distance(conversations: int) -> float:
        low, high = clustered_share_interval(np.full(conversations, share), np.arange(conversations))
        return limit - float(high) if share == 0 else float(low) - limit

    enough = LEAST_CONVERSATIONS
    while distance(enough) < 0:
        enough *= 2
    return enough // 2 + bisect_left(range(enough // 2, enough), 0.0, key=distance)


def _design_effect(estimate: Estimate, share: float, width: float) -> float:
    """Return lines for one that is independent; where all agree, by the conversations that make so wide an interval."""
    se, n = (estimate.se or 0.0) / width, estimate.n
    if "clustered" not in estimate.method:
        return 1.0
    if se:
        return max(1.0, n * se**2 / (share * (1 - share)))

    def narrowness(conversations: int) -> float:
        low, high = clustered_share_interval(np.full(conversations, share), np.arange(conversations))
        return float(low - high)

    observed = ((estimate.low or 0.0) - (estimate.high or 0.0)) / width
    return n / (2 + bisect_left(range(2, n), observed - 1e-9, key=narrowness))
