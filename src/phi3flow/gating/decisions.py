"""What the evidence says about a rule: passed, failed or undecided.

A rule passes where its bound of the two-sided 95 % interval satisfies it, so that a run which does not truly meet it
passes with a chance of at most 2.5 %. It fails where even the opposite bound violates it. Between them it is
undecided. "Better than baseline" is decided as a comparison's verdict is, by ``stats.decide``, with its p. Intervals
are not widened for several rules: docs/decisions/0010-gates.md.

Of 0/1 scores the exact count has to agree with the bound: Wilson's and Tango's pass with a chance of up to 4.3 %.

Where lines failed, a rule is decided twice: with them as the worst there is, and without them. Two outcomes make it
undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.gating.evidence import Evidence, Reading
from phi3flow.gating.rules import COMPARATORS, Comparator, MetricRule, NoWorse, Threshold
from phi3flow.records.comparisons import Verdict
from phi3flow.records.gates import Outcome
from phi3flow.stats import MOST_ONE_SIDED, decide

_OUTCOMES: dict[Verdict, Outcome] = {"better": "passed", "worse": "failed"}


@dataclass(frozen=True)
class Decision:
    """A rule's ``outcome``, and that of either reading: ``answered_only`` is None where there is but one.

    ``chance`` is there where the bound alone would decide: of a count that goes as far, were the rule's number true.
    """

    outcome: Outcome
    reading: Outcome
    answered_only: Outcome | None
    chance: float | None = None

    @property
    def readings_disagree(self) -> bool:
        """Whether failed lines decide."""
        return self.answered_only not in (None, self.reading)


def combine(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the gate's outcome: that of its worst rule."""
    order: tuple[Outcome, ...] = ("failed", "undecided", "passed")
    return min(outcomes, key=order.index)


def decide_rule(rule: MetricRule, evidence: Evidence) -> Decision:
    """Decide a rule by both readings of failed lines, which have to agree.

    It is undecided, too, where something stands in the way of any decision.
    """
    reading, chance = _decide_reading(rule, evidence, evidence.reading)
    answered_only = _decide_reading(rule, evidence, evidence.answered_only)[0] if evidence.answered_only else None
    agree = answered_only in (None, reading) and not evidence.obstacle
    return Decision(reading if agree else "undecided", reading, answered_only, chance)


def decide_by_bound(low: float | None, high: float | None, comparator: Comparator, limit: float) -> Outcome:
    """Return what the interval from ``low`` to ``high`` says about being ``comparator`` (>=, >, <=, <) ``limit``."""
    if low is None or high is None:
        return "undecided"
    worst, best = (low, high) if comparator in (">=", ">") else (high, low)
    holds = COMPARATORS[comparator]
    return "passed" if holds(worst, limit) else "undecided" if holds(best, limit) else "failed"


def _decide_reading(rule: MetricRule, evidence: Evidence, reading: Reading) -> tuple[Outcome, float | None]:
    """Return the outcome; where the exact count does not agree with the bound, undecided with the chance."""
    outcome = _decide_by_interval(rule, evidence, reading)
    chance = reading.count.chance(rule, outcome) if reading.count else None
    return ("undecided", chance) if chance is not None and chance > MOST_ONE_SIDED else (outcome, None)


def _decide_by_interval(rule: MetricRule, evidence: Evidence, reading: Reading) -> Outcome:
    low, high = reading.low, reading.high
    if isinstance(rule, Threshold):
        return decide_by_bound(low, high, rule.comparator, rule.threshold)
    if evidence.lower_is_better:
        low, high = (None if bound is None else -bound for bound in (high, low))
    if isinstance(rule, NoWorse):
        return decide_by_bound(low, high, ">=", -rule.margin)
    if rule.margin:
        return decide_by_bound(low, high, ">", rule.margin)
    return _OUTCOMES.get(decide(low, high, reading.p, level=evidence.level), "undecided")
