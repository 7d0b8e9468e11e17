"""Runs that were stopped as soon as they were decided: the test that stopped them speaks for them, and no other.

A test of lines that were fixed beforehand does not hold for them: they stopped where the difference looked large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from phi3flow.comparison.inference import InferredMetric, Reading
from phi3flow.records.comparisons import SEQUENTIAL, AnsweredOnly, Difference, Sides, StoppedEarly, Verdict
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import ALPHA, PairedComparison

_MIRRORED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Watched:
    """The test that watched one of two runs against the other, and the stops that make all other tests void.

    ``outcome`` is candidate minus baseline, None where neither run was tested against the other; ``own`` is its stop
    and ``foreign`` those of tests against other runs, as reasons.
    """

    outcome: StoppedEarly | None
    own: list[str]
    foreign: list[str]

    def void(self, inferred: InferredMetric) -> str | None:
        """Return why nothing can be decided of a metric, None where something can."""
        stops = self.foreign if inferred.is_watched else [*self.own, *self.foreign]
        if stops:
            return "; ".join(stops)
        if inferred.is_watched and self.outcome and self.outcome.verdict == "undecided":
            return self.outcome.reason or _no_verdict(self.outcome, of=inferred.metric.n_both)
        p, tests = inferred.primary.paired.p, inferred.tests
        if inferred.is_watched and self.own and p is not None and p >= ALPHA / tests:
            return f"its run stopped at p = {p:.3f}, which is not below the level that {tests} tests share"
        return None

    def apply(self, name: str, inferred: InferredMetric) -> InferredMetric:
        """Return the metric that was watched as its test found it, all of the same lines; others as they are."""
        outcome = self.outcome
        if outcome is None or outcome.metric != name:
            return inferred
        failed = outcome.failed if outcome.baseline_mean is not None else inferred.failed
        primary = Reading(outcome.baseline_mean, outcome.candidate_mean, _as_compared(outcome, inferred))
        answered_only = _read_answered(outcome.answered_only) if outcome.answered_only else None
        return replace(
            inferred,
            failed=failed,
            primary=primary,
            answered_only=answered_only,
            is_watched=True,
            level=outcome.level,
        )


def watched_runs(baseline: RunFolder, candidate: RunFolder) -> Watched:
    """Return what watched either run while it ran."""
    outcome, own, foreign = None, list[str](), list[str]()
    for run, other in ((candidate, baseline), (baseline, candidate)):
        early = run.manifest.stopped_early
        if early is None:
            continue
        is_current = _is_current(early, other)
        is_own = early.baseline == other.name and is_current and outcome is None
        if is_own:
            outcome = early if run is candidate else _mirrored(early, baseline.name)
        if early.verdict != "undecided":
            since = "" if is_current else ", as that was scored then"
            (own if is_own else foreign).append(
                f"run {run.name} was stopped by its test of {early.metric} against {early.baseline}{since}: its lines "
                "were not fixed beforehand (batch-run without --stop-when-decided runs all)"
            )
    return Watched(outcome, own, foreign)


def _no_verdict(outcome: StoppedEarly, *, of: int) -> str:
    text = f"the test that watched its run gave no verdict on {outcome.n:,} lines"
    unseen = of - outcome.n
    return f"{text}, and has not seen {unseen:,} that ran since" if unseen > 0 else text


def _is_current(early: StoppedEarly, other: RunFolder) -> bool:
    """Whether ``other``, where it is what a run was tested against, has the scores that it had then.

    The first builds did not note them.
    """
    if early.baseline != other.name or early.baseline_scores is None:
        return True
    return other.scores_sha256(early.metric.rpartition(".")[0]) == early.baseline_scores


def _as_compared(outcome: StoppedEarly, inferred: InferredMetric) -> PairedComparison:
    """Return the outcome in the terms of a comparison, whose wins are the lines that went up."""
    ups, downs = outcome.wins, outcome.losses
    if inferred.metric.lower_is_better:
        ups, downs = downs, ups
    is_counted = outcome.baseline_mean is not None  # the first builds kept no counts
    biased = "the estimate at a stop is biased away from 0: the run stopped because it was large"
    return PairedComparison(
        n=outcome.n,
        method=SEQUENTIAL,
        wins=ups if is_counted else None,
        losses=downs if is_counted else None,
        ties=outcome.ties if is_counted else None,
        mean=outcome.difference.mean,
        low=outcome.difference.low,
        high=outcome.difference.high,
        p=outcome.p,
        note=None if outcome.verdict == "undecided" else biased,
    )


def _read_answered(outcome: AnsweredOnly) -> Reading:
    """Return the test's second reading in the terms of a comparison."""
    difference = outcome.difference
    paired = PairedComparison(
        n=outcome.n,
        method=SEQUENTIAL,
        mean=difference.mean,
        low=difference.low,
        high=difference.high,
        p=outcome.p,
    )
    return Reading(outcome.baseline, outcome.candidate, paired)


def _mirrored(outcome: StoppedEarly, baseline: str) -> StoppedEarly:
    """Return the outcome as seen from the run that it was tested against."""
    answered = outcome.answered_only
    mirrored = answered and answered.model_copy(
        update={
            "baseline": answered.candidate,
            "candidate": answered.baseline,
            "difference": _negative(answered.difference),
        }
    )
    return outcome.model_copy(
        update={
            "baseline": baseline,
            "verdict": _MIRRORED.get(outcome.verdict, "undecided"),
            "difference": _negative(outcome.difference),
            "answered_only": mirrored,
            "baseline_mean": outcome.candidate_mean,
            "candidate_mean": outcome.baseline_mean,
            "wins": outcome.losses,
            "losses": outcome.wins,
            "failed": Sides(baseline=outcome.failed.candidate, candidate=outcome.failed.baseline),
        }
    )


def _negative(difference: Difference) -> Difference:
    mean, low, high = difference.mean, difference.low, difference.high
    return Difference(
        mean=None if mean is None else -mean,
        low=None if high is None else -high,
        high=None if low is None else -low,
    )
