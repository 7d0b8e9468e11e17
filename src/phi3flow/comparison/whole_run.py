"""Metrics that only an aggregation gives: two numbers and their difference, which nothing says the accuracy of."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from phi3flow.comparison.scored_runs import ScoredRuns
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.records.scores import AGGREGATION

_REASON = "only the whole run has it, not its lines: there is no interval and no test"


def whole_run_metrics(evaluations: Sequence[ScoredRuns], of_lines: Collection[str]) -> dict[str, MetricComparison]:
    """Return, by full name, the metrics of both runs that no line has; undecided, for they have no interval."""
    return {
        f"{runs.evaluation}.{name}": _compare(runs, name)
        for runs in evaluations
        for name in runs.baseline.metrics.metrics
        if name in runs.candidate.metrics.metrics and f"{runs.evaluation}.{name}" not in of_lines
    }


def _compare(runs: ScoredRuns, name: str) -> MetricComparison:
    before, after = (run.metrics.metrics[name].mean for run in (runs.baseline, runs.candidate))
    return MetricComparison(
        baseline=before,
        candidate=after,
        difference=Difference(mean=None if before is None or after is None else after - before),
        p=None,
        p_permutation=None,
        wins=None,
        losses=None,
        ties=None,
        minimum_detectable_effect=None,
        lines_needed=None,
        n=0,
        method=AGGREGATION,
        lower_is_better=name in runs.lower_is_better,
        failed_lines=runs.failed_lines,
        reason=_REASON,
        obstacle=_REASON,
    )
