"""What a line of the baseline and of the candidate count as, by either reading of failed lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import LineScore, ScoreRange

Pair = tuple[float, float]
"""The baseline's score and the candidate's."""


@dataclass(frozen=True)
class LinePair:
    """A line: its scores where failed lines count as the worst, and where they are left out; None where it has none.

    ``failed`` says on which sides it failed in the run.
    """

    least: Pair | None = None
    answered_only: Pair | None = None
    failed: Sides = field(default_factory=Sides)


@dataclass(frozen=True)
class MetricPairing:
    """Pairs scores of ``metric``, whose worst score is an end of its range."""

    metric: str
    score_range: ScoreRange
    lower_is_better: bool

    def pair(self, baseline: LineScore, candidate: LineScore) -> LinePair:
        """Return what a line counts as on each side.

        The metric applies to the line where either run has a score of it, or where the baseline's failure counts as
        one: a side that failed then counts as the worst. A scoring that failed is nobody's failure: no pair.
        """
        before, after = baseline.scores.get(self.metric), candidate.scores.get(self.metric)
        answered = None if before is None or after is None else (before, after)
        counted = baseline.value(self.metric)
        if counted is None and self.metric in baseline.counted_as and after is not None:
            counted = self.worst
        if not candidate.answered:
            after = self.worst
        least = None if counted is None or after is None else (counted, after)
        failed = Sides(baseline=not baseline.answered, candidate=not candidate.answered) if least else Sides()
        return LinePair(least, answered, failed)

    def may_pair(self, baseline: LineScore) -> bool:
        """Whether a line of the baseline can be paired at all."""
        return baseline.scores.get(self.metric) is not None or self.metric in baseline.counted_as

    @property
    def worst(self) -> float:
        """The worst score of the metric."""
        return self.score_range[1 if self.lower_is_better else 0]
