"""What a rule about a metric is decided by: the metric, or its difference, by either reading of failed lines."""

from __future__ import annotations

from dataclasses import dataclass

from phi3flow.gating.counts import CountedPairs, CountedShare
from phi3flow.gating.scored_metrics import ScoredMetric
from phi3flow.records.comparisons import SEQUENTIAL, Difference, MetricComparison, Sides
from phi3flow.records.scores import Estimate, FailedLines, ScoreRange
from phi3flow.stats import ALPHA

_UNCOUNTED = "nobody can say what the failed lines count as"


@dataclass(frozen=True)
class Reading:
    """A metric of the run, or its difference from the baseline, with its interval and p, over ``n`` lines.

    ``count`` is what it counts of 0/1 scores, as far as that is known.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None
    count: CountedShare | CountedPairs | None = None


@dataclass(frozen=True)
class Evidence:
    """What a run, or two, show of the metric by its full name.

    ``reading`` is the one that the scores were made for; ``answered_only`` the second, where it differs. ``obstacle``
    says why nothing can be decided, whatever the interval says. ``level`` is that of the interval and of p, at which
    the run was ``watched`` while it ran.
    """

    metric: str
    reading: Reading
    answered_only: Reading | None
    failed_lines: FailedLines
    failed: Sides
    unscored: Sides
    obstacle: str | None
    lower_is_better: bool
    method: str
    note: str | None
    compares: bool
    level: float = ALPHA
    watched: bool = False

    @classmethod
    def of_run(cls, metric: ScoredMetric) -> Evidence:
        """Return what the run's estimates show."""
        estimate, second, left_out = metric.estimate, metric.answered_only, metric.failed_lines == "left out"
        in_run = estimate.n_failed - estimate.n_unscored
        return cls(
            metric=metric.full_name,
            reading=_of_estimate(estimate, metric.score_range),
            answered_only=_of_estimate(second, metric.score_range) if second and not left_out else None,
            failed_lines=metric.failed_lines,
            failed=Sides(candidate=in_run),
            unscored=Sides(candidate=estimate.n_unscored),
            obstacle=_UNCOUNTED if metric.uncounted and not left_out else None,
            lower_is_better=metric.lower_is_better,
            method=estimate.method,
            note=estimate.note,
            compares=False,
        )

    @classmethod
    def of_comparison(
        cls,
        metric: str,
        compared: MetricComparison,
        *,
        score_range: ScoreRange | None = None,
    ) -> Evidence:
        """Return what the paired difference shows; ``score_range`` is the metric's, None where it has none."""
        second = compared.answered_only
        return cls(
            metric=metric,
            reading=_of_difference(compared.difference, compared.n, compared.p, CountedPairs.of(compared, score_range)),
            answered_only=_of_difference(second.difference, second.n, second.p) if second else None,
            failed_lines=compared.failed_lines,
            failed=compared.failed,
            unscored=compared.unscored,
            obstacle=compared.obstacle,
            lower_is_better=compared.lower_is_better,
            method=compared.method,
            note=compared.note,
            compares=True,
            level=compared.level,
            watched=compared.method == SEQUENTIAL,
        )


def _of_estimate(estimate: Estimate, score_range: ScoreRange | None) -> Reading:
    count = CountedShare.of(estimate, score_range)
    return Reading(estimate.mean, estimate.low, estimate.high, estimate.n, count=count)


def _of_difference(difference: Difference, n: int, p: float | None, count: CountedPairs | None = None) -> Reading:
    return Reading(difference.mean, difference.low, difference.high, n, p, count)
