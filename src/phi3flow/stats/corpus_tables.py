"""Counts of a run, or of two side by side, by line and by conversation, with the metric that they compute."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from phi3flow.stats.bounded_means import BoundedMean
from phi3flow.stats.contributions import Contributions
from phi3flow.stats.corpus import CORPUS_ENDS, Metric, line_lengths
from phi3flow.stats.estimates import Clusters, Floats, shared_clusters, sum_by_cluster


@dataclass(frozen=True)
class CorpusTable:
    """Counts by line, (n, K), or (n, 2K) of a baseline and a candidate, and by conversation.

    ``outermost`` returns the counts, (2, K), of a conversation that is as bad, and as good, as its length allows; None
    of a metric that has no ends.
    """

    lines: Floats
    clusters: Clusters | None
    sums: Floats
    metric: Metric
    lengths: Floats
    outermost: Metric | None
    paired: bool

    @classmethod
    def of_run(cls, lines: Floats, metric: Metric, clusters: ArrayLike | None) -> CorpusTable:
        codes, sums = _by_cluster(lines, clusters)
        return cls(lines, codes, sums, metric, line_lengths(lines), CORPUS_ENDS.get(metric), paired=False)

    @classmethod
    def of_pair(cls, left: Floats, right: Floats, metric: Metric, clusters: ArrayLike | None) -> CorpusTable:
        """Return the table of candidate minus baseline, ``right`` and ``left``."""
        lines, ends = np.concatenate([left, right], axis=1), CORPUS_ENDS.get(metric)
        codes, sums = _by_cluster(lines, clusters)
        lengths = line_lengths(left) + line_lengths(right)
        return cls(lines, codes, sums, _difference(metric), lengths, ends and _opposite(ends), paired=True)

    @property
    def value(self) -> float:
        return float(self.metric(self.sums.sum(axis=0)))

    @property
    def swapped(self) -> Floats:
        """The conversations' counts, candidate and baseline changed about."""
        return np.roll(self.sums, self.sums.shape[1] // 2, axis=1)

    @property
    def conversations(self) -> int | None:
        """How many there are; None where each line is one of its own."""
        return None if self.clusters is None else len(self.sums)

    @property
    def differing(self) -> int:
        """Of how many conversations the two runs' counts differ."""
        left, right = np.split(self.sums, 2, axis=1)
        return int((left != right).any(axis=1).sum())

    def infer(self) -> BoundedMean:
        """Infer the metric from what each conversation contributes."""
        contributions = Contributions.of(self.metric, self.lines, self.lengths, self.clusters)
        if self.outermost is None:
            return contributions.infer(None, are_differences=self.paired)
        total, count = self.sums.sum(axis=0), len(self.sums)
        one_more = self.metric(total + self.outermost(total / count))
        low, high = (float(end) for end in self.value + (count + 1) * (one_more - self.value))
        least, most = (float(end) for end in self.metric(self.outermost(total)))
        return replace(contributions.infer((low, high), are_differences=self.paired), ends=(least, most))


def _by_cluster(lines: Floats, clusters: ArrayLike | None) -> tuple[Clusters | None, Floats]:
    codes = shared_clusters(clusters, len(lines))
    return codes, lines if codes is None else sum_by_cluster(lines.T, codes).T


def _difference(metric: Metric) -> Metric:
    """Return what computes candidate minus baseline from their counts side by side."""

    def difference(counts: Floats) -> Floats:
        left, right = np.split(counts, 2, axis=-1)
        return np.asarray(metric(right) - metric(left))

    return difference


def _opposite(ends: Metric) -> Metric:
    """Return the counts, side by side, of the baseline all right and the candidate all wrong, and the reverse."""

    def outermost(counts: Floats) -> Floats:
        left, right = (ends(side) for side in np.split(counts, 2))
        return np.concatenate([left[::-1], right], axis=1)

    return outermost
