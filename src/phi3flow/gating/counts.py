"""What is counted of 0/1 scores: the chance of as much, were the truth what a rule names.

Intervals of counts miss by more than they say where few lines are there or differ; a rule is decided only where the
exact count agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi3flow.gating.rules import Better, MetricRule, NoWorse, Threshold
from phi3flow.records.comparisons import MetricComparison
from phi3flow.records.gates import Outcome
from phi3flow.records.scores import Estimate, ScoreRange
from phi3flow.stats import UNIT, share_difference_tail, share_tail


@dataclass(frozen=True)
class CountedShare:
    """So many of ``n`` lines score the top of the metric's range, the others its end."""

    tops: int
    n: int
    score_range: ScoreRange

    @classmethod
    def of(cls, estimate: Estimate, score_range: ScoreRange | None) -> CountedShare | None:
        """Return what an estimate counts; None of what is no count of lines that are independent."""
        if estimate.mean is None or not estimate.method.startswith("wilson"):
            return None
        low, high = score_range or UNIT
        return cls(round(estimate.n * (estimate.mean - low) / (high - low)), estimate.n, (low, high))

    def chance(self, rule: MetricRule, outcome: Outcome) -> float | None:
        """Return the chance of scores that go as far from the rule's number towards ``outcome``, were that the mean."""
        if not isinstance(rule, Threshold) or outcome == "undecided":
            return None
        low, high = self.score_range
        above = (rule.comparator in (">=", ">")) == (outcome == "passed")
        share = (rule.threshold - low) / (high - low)
        return share_tail(self.tops, self.n, share, above=above) if 0 <= share <= 1 else None


@dataclass(frozen=True)
class CountedPairs:
    """Of ``n`` lines so many are better and worse than the baseline's, by the ``width`` of the metric's range."""

    wins: int
    losses: int
    n: int
    width: float

    @classmethod
    def of(cls, compared: MetricComparison, score_range: ScoreRange | None) -> CountedPairs | None:
        """Return what a comparison counts; None of what is no count of lines that are independent."""
        if compared.wins is None or compared.losses is None or not compared.method.startswith("Tango"):
            return None
        low, high = score_range or UNIT
        return cls(compared.wins, compared.losses, compared.n, high - low)

    def chance(self, rule: MetricRule, outcome: Outcome) -> float | None:
        """Return the chance of a difference that goes as far beyond the rule's margin, were that the difference.

        Of the bound that is nearer to 0 only, the other errs by less; "better than baseline" has its own test.
        """
        margin = rule.margin / self.width if isinstance(rule, NoWorse | Better) else 1.0
        if margin >= 1:
            return None
        if isinstance(rule, Better) and rule.margin and outcome == "passed":
            return share_difference_tail(self.wins, self.losses, self.n, margin)
        if isinstance(rule, NoWorse) and outcome == "failed":
            return share_difference_tail(self.losses, self.wins, self.n, margin)
        return None
