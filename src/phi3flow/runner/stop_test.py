"""The test that ends a run: by both readings of failed lines, over the same conversations, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from phi3flow.records.comparisons import AnsweredOnly, Difference, Sides, StoppedEarly
from phi3flow.runner.line_pairs import LinePair, Pair
from phi3flow.runner.stop_rule import StopRule
from phi3flow.stats import SequentialTest

_NOTABLE = 0.05  # of the range: a difference that one would want to see
_SAME = 1e-12  # relative: scores that differ by less differ by the rounding of floats


class StopTest:
    """Takes conversations in the order that was drawn; it is decided where both readings show the same.

    Each reading's test is at the rule's level, so that both together are at most at it. ``may_pair`` says how many
    lines of each conversation can have a pair.
    """

    def __init__(self, rule: StopRule, may_pair: Sequence[int], *, level: float) -> None:
        self._rule = rule
        self._level = level
        self._lines, self._longest = max(sum(may_pair), 1), max(may_pair, default=1) or 1
        self._least, self._answered_only = (
            _Reading(rule, SequentialTest(lines=self._lines, longest=self._longest)) for _ in range(2)
        )
        self._failed = Sides()

    def add(self, lines: Sequence[LinePair]) -> None:
        """Take the next conversation. Raises ValueError for a score outside of the metric's range."""
        self._least.add([pair.least for pair in lines if pair.least])
        self._answered_only.add([pair.answered_only for pair in lines if pair.answered_only])
        self._failed = Sides(
            baseline=self._failed.baseline + sum(pair.failed.baseline for pair in lines),
            candidate=self._failed.candidate + sum(pair.failed.candidate for pair in lines),
        )

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """What both readings show; where the baseline's failed lines are left out, the one that leaves them out."""
        verdicts = {reading.verdict(self._level) for reading in self._readings}
        return verdicts.pop() if len(verdicts) == 1 else "undecided"

    @property
    def outcome(self) -> StoppedEarly:
        """The record: what is shown now, and over which lines."""
        main, rule = self._readings[0], self._rule
        return StoppedEarly(
            metric=rule.name,
            baseline=rule.baseline.name,
            verdict=self.verdict,
            difference=main.difference(self._level),
            p=main.test.p,
            n=main.n,
            level=self._level,
            baseline_mean=main.means[0],
            candidate_mean=main.means[1],
            wins=main.wins,
            losses=main.losses,
            ties=main.n - main.wins - main.losses,
            failed=self._failed,
            answered_only=self._answered_only.record(self._level) if self._has_two_readings else None,
            reason=self._reason,
            baseline_scores=rule.scores_sha256,
        )

    @property
    def _reason(self) -> str | None:
        """Why there is no verdict, where more is to be said than that the difference is small."""
        if self.verdict != "undecided":
            return None
        verdicts = [reading.verdict(self._level) for reading in self._readings]
        if len(set(verdicts)) > 1:
            return f"failed lines decide: {verdicts[0]} with them, {verdicts[1]} over answered lines alone"
        least = self._readings[0].test.least_decided(self._level)
        if least < _NOTABLE:
            return None
        low, high = self._rule.score_range
        decided = "nothing" if least >= 1 else f"no difference below {least * (high - low):.2g}"
        return (
            f"conversations are long, up to {self._longest:,} of {self._lines:,} lines, so that {decided} is decided "
            "while the run goes on; run it under another name without --stop-when-decided"
        )

    @property
    def _has_two_readings(self) -> bool:
        return len(self._readings) == 2 and self._failed != Sides()

    @property
    def _readings(self) -> list[_Reading]:
        if self._rule.measured.failed_lines == "left out":
            return [self._answered_only]
        return [self._least, self._answered_only]


class _Reading:
    """The test by one reading, and what is counted over the very lines that it tests."""

    def __init__(self, rule: StopRule, test: SequentialTest) -> None:
        low, high = rule.score_range
        self.test = test
        self.n = self.wins = self.losses = 0
        self._lower_is_better = rule.lower_is_better
        self._span = high - low
        self._sums = [0.0, 0.0]

    def add(self, pairs: Sequence[Pair]) -> None:
        if pairs:
            self.test.add(sum(after - before for before, after in pairs) / self._span, len(pairs))
        self.n += len(pairs)
        for before, after in pairs:
            self._sums[0] += before
            self._sums[1] += after
            if not math.isclose(before, after, rel_tol=_SAME, abs_tol=_SAME * self._span):
                is_win = (after > before) != self._lower_is_better
                self.wins += is_win
                self.losses += not is_win

    def verdict(self, level: float) -> Literal["better", "worse", "undecided"]:
        if self.test.p > level:
            return "undecided"
        return "better" if (self.test.mean > 0) != self._lower_is_better else "worse"

    def difference(self, level: float) -> Difference:
        if not self.n:
            return Difference(mean=None)
        low, high = self.test.interval(level)
        return Difference(mean=self.test.mean * self._span, low=low * self._span, high=high * self._span)

    @property
    def means(self) -> tuple[float | None, float | None]:
        """The baseline's mean and the candidate's."""
        return (self._sums[0] / self.n, self._sums[1] / self.n) if self.n else (None, None)

    def record(self, level: float) -> AnsweredOnly:
        before, after = self.means
        return AnsweredOnly(
            baseline=before, candidate=after, difference=self.difference(level), p=self.test.p, n=self.n
        )
