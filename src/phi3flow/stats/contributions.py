"""What lines and conversations contribute to a metric of the whole run, and what is inferred of it from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.bounded_means import BoundedMean, Sums, infer_bounded
from phi3flow.stats.corpus import Metric
from phi3flow.stats.estimates import Clusters, Floats, alike_variance, degrees_of_freedom, sum_by_cluster

_OF_LIKE_LENGTH = 100  # so many lines at least, from the longest on, are held to scatter alike by length


@dataclass(frozen=True)
class Contributions:
    """How far a metric of summed counts is from what it would be without each line, (n,), and conversation, (C,).

    ``weights`` and ``lengths`` are theirs, both n in sum; the contributions of either add up to 0, as residuals do.
    """

    value: Floats
    of_lines: Floats
    weights: Floats
    of_conversations: Floats
    lengths: Floats
    clusters: Clusters | None

    @classmethod
    def of(cls, metric: Metric, counts: Floats, lengths: Floats, clusters: Clusters | None) -> Contributions:
        """Return those of ``counts``, (n, K), of lines that are as long as ``lengths``, (n,), says."""
        value, weights = metric(counts.sum(axis=0)), lengths * (len(lengths) / lengths.sum())
        lines = _contributions(metric, counts, weights)
        if clusters is None:
            return cls(value, lines, weights, lines, weights, None)
        by_conversation = sum_by_cluster(weights, clusters)
        conversations = _contributions(metric, sum_by_cluster(counts.T, clusters).T, by_conversation)
        return cls(value, lines, weights, conversations, by_conversation, clusters)

    def infer(self, ends: ScoreRange | None, *, are_differences: bool) -> BoundedMean:
        """Infer the metric; ``ends`` are what an answer may add that no line has shown, as in ``infer_bounded_mean``.

        None is Student's t. The variance is CR2's, or where it is greater that of conversations that scatter alike
        (``exchangeable_variance``), as lines of like length do.
        """
        n = len(self.weights)
        if ends is not None:
            sums = Sums(self.value, self.of_conversations, self.lengths, n, clustered=True, variance=self._variance())
            width = (ends[1] - ends[0]) / (2 if are_differences else 1)
            return infer_bounded(sums, ends, width=width, are_differences=are_differences)
        shares = self.lengths / n
        adjusted = (np.square(self.of_conversations) / (1 - shares)).sum()
        se = np.sqrt(np.maximum(adjusted, self._variance())) / n
        return BoundedMean(self.value, se, se, degrees_of_freedom(shares), (np.zeros(()),), (-math.inf, math.inf))

    def _variance(self) -> Floats:
        by_length = self.of_lines / self.weights
        if self.clusters is None:
            return np.asarray(self._of_like_length(by_length).sum())
        means = self.of_conversations / self.lengths
        scatter = by_length - (sum_by_cluster(by_length, self.clusters) / np.bincount(self.clusters))[self.clusters]
        within = sum_by_cluster(self._of_like_length(scatter), self.clusters)
        if scatter.any():  # of few conversations with several lines it is a guess
            free = max(len(by_length) - len(means), 1)
            within *= min(len(by_length) / free, by_length.var() / scatter.var())
        return alike_variance(means, self.lengths, within)

    def _of_like_length(self, scatter: Floats) -> Floats:
        """Return each line's variance from how lines scatter by length, as those do that are like it in length."""
        _, lengths, counts = np.unique(self.weights, return_inverse=True, return_counts=True)
        longer = len(scatter) - np.cumsum(counts)  # lines that are longer, of each length
        alike = (longer // _OF_LIKE_LENGTH)[lengths]
        means = np.bincount(alike, np.square(scatter)) / np.maximum(np.bincount(alike), 1)
        return np.asarray(means[alike] * np.square(self.weights))


def _contributions(metric: Metric, counts: Floats, lengths: Floats) -> Floats:
    n, total = lengths.sum(), counts.sum(axis=0)
    added = (n - lengths) * (metric(total) - metric(total - counts))
    return np.asarray(added - lengths / n * added.sum())
