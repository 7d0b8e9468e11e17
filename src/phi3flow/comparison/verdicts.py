"""What an inferred metric shows: one verdict of both readings of failed lines, and why it is undecided.

A verdict is ``stats.decide``'s. Where the two readings end in different ones, the failed lines decide, and nobody knows
how they would have been answered: undecided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phi3flow.comparison.inference import InferredMetric, Reading
from phi3flow.records.comparisons import AnsweredOnly, Difference, MetricComparison, Sides, Verdict
from phi3flow.stats import ALPHA, PairedComparison, decide, mcnemar_mid_p
from phi3flow.text import plural


@dataclass(frozen=True)
class Adjusted:
    """Holm's adjusted p values of a confirmatory metric, by the two readings; None where it has no p."""

    primary: float | None
    answered_only: float | None


def judge_metric(
    inferred: InferredMetric, *, adjusted: Adjusted | None, margin: float | None, void: str | None
) -> MetricComparison:
    """Return the metric's comparison with its verdict.

    ``adjusted`` is given for a confirmatory metric, whose verdict is at the level that all tests share; an exploratory
    one's is by its own p. ``void`` says why nothing can be decided of these lines, where nothing can.
    """
    evidence = _Evidence(inferred, adjusted, margin)
    return _figures(inferred).model_copy(
        update={
            "confirmatory": adjusted is not None,
            "p_holm": adjusted.primary if adjusted else None,
            "margin": margin,
            "verdict_answered_only": "undecided" if void else evidence.verdict_answered_only,
            **_conclude(evidence, void),
        }
    )


def _conclude(evidence: _Evidence, void: str | None) -> dict[str, Any]:
    """Return the verdict of both readings, and in words what stands in its way, makes it undecided, is to be known."""
    obstacle, note = void or evidence.obstacle, "; ".join(evidence.remarks) or None
    reason = obstacle or evidence.disagreement
    verdict = "undecided" if reason else evidence.verdict
    if verdict == "undecided":
        reason = reason or evidence.doubt
    left_out = evidence.inferred.metric.failed_lines == "left out" and evidence.inferred.failed != Sides()
    reason = "; ".join(filter(None, [reason, note, "failed lines are left out" if left_out else None])) or None
    return {"verdict": verdict, "reason": reason, "obstacle": obstacle, "note": note}


@dataclass(frozen=True)
class _Evidence:
    """What decides a metric, and what there is to say of it."""

    inferred: InferredMetric
    adjusted: Adjusted | None
    margin: float | None

    @property
    def verdict(self) -> Verdict:
        """That of the reading that the scores are made with."""
        return self._decide(self.inferred.primary, self.adjusted.primary if self.adjusted else None)

    @property
    def verdict_answered_only(self) -> Verdict:
        """That of the lines that both answered."""
        reading = self.inferred.answered_only
        if reading is None:
            return self.verdict
        return self._decide(reading, self.adjusted.answered_only if self.adjusted else None)

    @property
    def obstacle(self) -> str | None:
        """Why nothing is decided, whatever the figures say."""
        metric, paired = self.inferred.metric, self.inferred.primary.paired
        if paired.n == 0:
            return "no line has a score in both runs"
        if metric.failed_lines == "least" and metric.n_uncounted:
            return (
                f"nobody can say what {metric.n_uncounted:,} failed lines count as: the metric has no declared range "
                "(the evaluation flow's tag score_ranges), or may not apply to them"
            )
        return next((text for text, alone in self._missing if _is_one_sided(alone)), None)

    @property
    def disagreement(self) -> str | None:
        """That the readings of failed lines end in different verdicts."""
        if self.verdict != self.verdict_answered_only:
            return (
                f"the failed lines decide: {self.verdict} where they count as the worst score, "
                f"{self.verdict_answered_only} over the lines that both answered"
            )
        return None

    @property
    def doubt(self) -> str:
        """Why the figures decide nothing."""
        paired, tests = self.inferred.primary.paired, self.inferred.tests
        if paired.low is None or paired.high is None:
            return f"it has no interval ({paired.method})"
        outside = paired.low > 0 or paired.high < 0
        if tests > 1 and outside and paired.p is not None and paired.p < ALPHA:
            return f"it is not shown at the level that {tests} tests share"
        if outside:
            return f"few lines differ: p is not below {ALPHA:g}, though the interval excludes 0"
        return _few_lines(paired, self.margin)

    @property
    def remarks(self) -> Iterator[str]:
        """What is to be known beside the verdict."""
        metric, paired = self.inferred.metric, self.inferred.primary.paired
        if paired.note:
            yield paired.note
        if self.obstacle is None and (nulls := metric.null_alone) != Sides():
            yield f"left out: it is null on {_count(nulls)}, and has a score there in the other run"

    @property
    def _missing(self) -> Iterator[tuple[str, Sides]]:
        """Why pairs are left out, and how many of them for what each run alone lacks."""
        metric = self.inferred.metric
        rest = "the lines that are left may not be alike"
        yield f"scoring failed more often on one side ({_count(metric.unscored)}): {rest}", metric.unscored_alone
        nulls = metric.null_alone
        yield f"it is null more often on one side ({_count(nulls)} where the other run has a score): {rest}", nulls

    def _decide(self, reading: Reading, p_holm: float | None) -> Verdict:
        paired = reading.paired
        low, high = paired.simultaneous or (paired.low, paired.high)
        if self.inferred.metric.lower_is_better and low is not None and high is not None:
            low, high = -high, -low
        return decide(low, high, p_holm if self.adjusted else paired.p, margin=self.margin)


def _is_one_sided(alone: Sides) -> bool:
    return float(mcnemar_mid_p(alone.baseline, alone.candidate)) < ALPHA


def _count(sides: Sides) -> str:
    return f"{plural(sides.baseline, 'line')} of the baseline, {plural(sides.candidate, 'line')} of the candidate"


def _few_lines(paired: PairedComparison, margin: float | None) -> str:
    """Return that the interval holds 0, of what, and what it would take."""
    effect, needed = paired.minimum_detectable_effect, paired.lines_needed
    text = _size(paired)
    if effect is not None:
        text += f" show a difference of {effect:.3f} or more (80 % power)"
        text += f", one of this size takes about {needed:,}" if needed is not None and needed > paired.n else ""
    else:
        text += f" leave {paired.low:+.3f} to {paired.high:+.3f} open"
    return text if margin is None else f"{text}; the interval is not within {margin:g}"


def _size(paired: PairedComparison) -> str:
    """Return what there is too little of: lines, conversations, or others beside one that has half of the lines."""
    if paired.conversations is None:
        return f"few lines: {paired.n:,} of them"
    if paired.longest and 2 * paired.longest >= paired.n:
        return f"one conversation has {paired.longest:,} of {paired.n:,} lines: together they"
    return f"few conversations: {paired.n:,} lines in {paired.conversations:,} of them"


def _figures(inferred: InferredMetric) -> MetricComparison:
    """Return what was inferred, without a verdict."""
    metric, paired = inferred.metric, inferred.primary.paired
    wins, losses = (paired.losses, paired.wins) if metric.lower_is_better else (paired.wins, paired.losses)
    return MetricComparison(
        baseline=inferred.primary.baseline,
        candidate=inferred.primary.candidate,
        difference=Difference(mean=paired.mean, low=paired.low, high=paired.high),
        p=paired.p,
        p_permutation=paired.p_permutation,
        simultaneous=_simultaneous(paired),
        wins=wins,
        losses=losses,
        ties=paired.ties,
        minimum_detectable_effect=paired.minimum_detectable_effect,
        lines_needed=paired.lines_needed,
        n=paired.n,
        method=paired.method,
        level=inferred.level,
        conversations=paired.conversations,
        df=paired.df,
        lower_is_better=metric.lower_is_better,
        se=paired.se,
        failed_lines=metric.failed_lines,
        failed=inferred.failed,
        unscored=metric.unscored,
        answered_only=_answered_only(inferred.answered_only),
    )


def _simultaneous(paired: PairedComparison) -> Difference | None:
    if paired.simultaneous is None:
        return None
    return Difference(mean=paired.mean, low=paired.simultaneous[0], high=paired.simultaneous[1])


def _answered_only(reading: Reading | None) -> AnsweredOnly | None:
    if reading is None:
        return None
    paired = reading.paired
    return AnsweredOnly(
        baseline=reading.baseline,
        candidate=reading.candidate,
        difference=Difference(mean=paired.mean, low=paired.low, high=paired.high),
        p=paired.p,
        n=paired.n,
    )
