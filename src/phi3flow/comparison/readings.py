"""A metric of two runs over their pairs of lines, by either reading of failed lines.

By the one a line that failed in its run counts as the worst end of the metric's range, by the other it is left out.
A line whose scoring failed is the judge's failure: it is left out by both, and counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phi3flow.comparison.pairing import Pairs
from phi3flow.comparison.scored_runs import ScoredRun, ScoredRuns
from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import FailedLines, LineScore, ScoreRange
from phi3flow.stats import CORPUS_METRICS, UNIT, known_range

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Side:
    """One run's part in a metric: (n,) scores or (n, K) counts of a corpus metric, nan where a pair has none.

    ``answered`` leaves lines that failed in the run out, ``least`` has what they count as. Masks, (n,): to ``failed``
    lines the metric applies, of ``uncounted`` ones among them nobody can say what they count as; ``unscored`` lines
    were answered, and their scoring failed.
    """

    answered: Array
    least: Array
    failed: Array
    uncounted: Array
    unscored: Array

    def at(self, positions: Sequence[int] | Array) -> Side:
        """Return it over some of the pairs."""
        return Side(*(values[positions] for values in vars(self).values()))

    @property
    def is_absent(self) -> Array:
        """Where the run says that the metric does not apply to the line."""
        return ~(_has(self.least) | self.failed | self.unscored)


@dataclass(frozen=True)
class PairedScores:
    """What one inference takes: the scores of a metric of all pairs that have it in both runs, by one reading."""

    name: str
    baseline: Array
    candidate: Array
    clusters: Array
    score_range: ScoreRange | None

    @property
    def is_corpus(self) -> bool:
        """Whether it is a metric of the whole run, made of counts."""
        return self.baseline.ndim == 2

    def means(self) -> tuple[float | None, float | None]:
        """Return the metric of either run."""
        if not len(self.baseline):
            return None, None
        if self.is_corpus:
            corpus = CORPUS_METRICS[self.name]
            return float(corpus(self.baseline.sum(axis=0))), float(corpus(self.candidate.sum(axis=0)))
        return float(self.baseline.mean()), float(self.candidate.mean())


@dataclass(frozen=True)
class PairedMetric:
    """One metric of all pairs. ``score_range`` is None where nobody declared it and the scores are none of 0 to 1."""

    name: str
    baseline: Side
    candidate: Side
    clusters: Array
    failed_lines: FailedLines = "least"
    lower_is_better: bool = False
    score_range: ScoreRange | None = UNIT

    def at(self, positions: Sequence[int] | Array) -> PairedMetric:
        """Return it over some of the pairs, by their positions or a mask."""
        return replace(
            self,
            baseline=self.baseline.at(positions),
            candidate=self.candidate.at(positions),
            clusters=self.clusters[positions],
        )

    def read(self, failed_lines: FailedLines) -> PairedScores:
        """Return the scores of the pairs that have them in both runs, by a reading of failed lines."""
        sides = [side.least if failed_lines == "least" else side.answered for side in (self.baseline, self.candidate)]
        complete = _has(sides[0]) & _has(sides[1])
        left, right = (side[complete] for side in sides)
        return PairedScores(self.name, left, right, self.clusters[complete], self.score_range)

    @property
    def failed(self) -> Sides:
        """How many lines of each run, to which it applies, failed in the run."""
        return Sides(baseline=int(self.baseline.failed.sum()), candidate=int(self.candidate.failed.sum()))

    @property
    def unscored(self) -> Sides:
        """How many lines of each run were answered and have no score, since their scoring failed."""
        return Sides(baseline=int(self.baseline.unscored.sum()), candidate=int(self.candidate.unscored.sum()))

    @property
    def n_both(self) -> int:
        """How many pairs have it in both runs."""
        return len(self.read(self.failed_lines).clusters)

    @property
    def n_applies(self) -> int:
        """To how many pairs it applies."""
        return int((~(self.baseline.is_absent & self.candidate.is_absent)).sum())

    @property
    def n_uncounted(self) -> int:
        """How many pairs would count if anybody could say what the line that failed in one of them counts as."""
        left, right = self.baseline, self.candidate
        return int(((left.uncounted & _has(right.least)) | (right.uncounted & _has(left.least))).sum())

    @property
    def null_alone(self) -> Sides:
        """How many lines each run alone says that it does not apply to, though the other was scored by it there."""
        left, right = self.baseline, self.candidate
        return Sides(
            baseline=int((left.is_absent & _has(right.answered)).sum()),
            candidate=int((right.is_absent & _has(left.answered)).sum()),
        )

    @property
    def unscored_alone(self) -> Sides:
        """How many lines each run alone has no score of, since their scoring failed."""
        left, right = self.baseline.unscored, self.candidate.unscored
        return Sides(baseline=int((left & ~right).sum()), candidate=int((right & ~left).sum()))


def paired_metrics(runs: ScoredRuns, pairs: Pairs) -> Iterator[PairedMetric]:
    """Yield each metric that a line of either run has, then those of the whole run that their counts make."""
    before, after = _Lines.of(runs.baseline, pairs.baseline), _Lines.of(runs.candidate, pairs.candidate)
    for name in dict.fromkeys([*before.names, *after.names]):
        left, right = before.scores_of(name), after.scores_of(name)
        score_range = known_range(name, runs.score_ranges, [left.answered, right.answered])
        yield _paired(name, left, right, runs, pairs, score_range)
    for name in CORPUS_METRICS:
        counts = name.removeprefix("corpus_")
        if width := max(before.width(counts), after.width(counts)):
            left, right = before.counts_of(counts, width), after.counts_of(counts, width)
            yield _paired(name, left, right, runs, pairs, UNIT)


def _paired(
    name: str, left: Side, right: Side, runs: ScoredRuns, pairs: Pairs, score_range: ScoreRange | None
) -> PairedMetric:
    """Return the metric; without a range nobody can say what a failed line counts as."""
    left, right = _without_absent(left, right), _without_absent(right, left)
    if score_range is None:
        left, right = _uncounted(left), _uncounted(right)
    return PairedMetric(name, left, right, pairs.clusters, runs.failed_lines, name in runs.lower_is_better, score_range)


def _without_absent(side: Side, other: Side) -> Side:
    """Return ``side`` without the failures of which the other run says that the metric does not apply to the line."""
    applies = ~other.is_absent
    return replace(
        side,
        failed=side.failed & applies,
        uncounted=side.uncounted & applies,
        unscored=side.unscored & applies,
    )


def _uncounted(side: Side) -> Side:
    least = np.where(side.failed, np.nan, side.least)
    return replace(side, least=least, uncounted=side.failed)


def _has(values: Array) -> Array:
    """Where there are scores, or all counts."""
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))


@dataclass(frozen=True)
class _Lines:
    """One run's lines in the order of the pairs (None: not among its scores).

    By position: ``failed`` are those that failed in the run, without their failed executions; ``unscored`` those that
    were answered, of which some scoring failed.
    """

    lines: Sequence[LineScore | None]
    scores: Sequence[Mapping[str, float | None]]
    failed: Mapping[int, LineScore]
    unscored: Mapping[int, LineScore]

    @classmethod
    def of(cls, run: ScoredRun, numbers: Sequence[int]) -> _Lines:
        lines = [run.scores.get(number) for number in numbers]
        failed = {place: run.failed[number] for place, number in enumerate(numbers) if number in run.failed}
        unscored = {place: line for place, line in enumerate(lines) if line and line.failures and line.answered}
        return cls(lines, [line.scores if line else {} for line in lines], failed, unscored)

    @property
    def names(self) -> list[str]:
        """The metrics that some line has, or may have."""
        keys = dict.fromkeys(tuple(scores) for scores in self.scores)
        keys |= dict.fromkeys(tuple(line.counted_as) for line in self.failed.values())
        return list(dict.fromkeys(name for names in keys for name in names))

    def scores_of(self, name: str) -> Side:
        """Return the scores of a metric of lines."""
        answered = np.array([scores.get(name) for scores in self.scores], dtype=float)
        counted = {place: line.counted_as[name] for place, line in self._failed_lines() if name in line.counted_as}
        unscored = [place for place, line in self.unscored.items() if name in line.failures]
        least = answered
        if counted:
            least = answered.copy()
            least[list(counted)] = np.array(list(counted.values()), dtype=float)
        failed = self._mask(counted)
        return Side(answered, least, failed, failed & np.isnan(least), self._mask(unscored) & np.isnan(answered))

    def width(self, counts: str) -> int:
        """Return how many counts a corpus metric is made of; 0 where no line has any."""
        return max((len(line.counts.get(counts, ())) for line in self.lines if line), default=0)

    def counts_of(self, counts: str, width: int) -> Side:
        """Return the counts of a metric of the whole run."""
        absent = [np.nan] * width
        least = np.array([line.counts.get(counts, absent) if line else absent for line in self.lines], dtype=float)
        failed, answered = self._mask(self.failed), least
        if self.failed:
            answered = least.copy()
            answered[list(self.failed)] = [line.counts.get(counts, absent) for line in self.failed.values()]
        without = self._mask([place for place, line in enumerate(self.lines) if line and line.status == "Failed"])
        return Side(answered, least, failed, failed & ~_has(least), without & ~failed & ~_has(least))

    def _failed_lines(self) -> Iterator[tuple[int, LineScore]]:
        return ((place, line) for place in self.failed if (line := self.lines[place]))

    def _mask(self, positions: Iterable[int]) -> Array:
        mask = np.zeros(len(self.lines), dtype=bool)
        mask[list(positions)] = True
        return mask
