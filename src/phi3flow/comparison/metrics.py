"""The metrics of two runs over their pairs of lines: collected from the scores, and inferred several at once.

The statistics are ``phi3flow.stats``'; it compares one metric at a time, or corpus metrics that share their draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from phi3flow.comparison.pairing import Pairs
from phi3flow.comparison.scored_runs import ScoredRuns
from phi3flow.project.machine import processors
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.records.scores import LineScore, ScoreRange
from phi3flow.stats import CORPUS_METRICS, UNIT, PairedComparison, compare_corpora, compare_pairs


@dataclass(frozen=True)
class PairedMetric:
    """One metric of all pairs: (n,) scores, nan where there is none, or (n, K) counts of a corpus metric."""

    name: str
    baseline: np.ndarray[Any, Any]
    candidate: np.ndarray[Any, Any]
    clusters: np.ndarray[Any, Any]
    lower_is_better: bool = False
    score_range: ScoreRange = UNIT

    @property
    def is_corpus(self) -> bool:
        """Whether it is a metric of the whole run, made of counts."""
        return self.baseline.ndim == 2

    def complete(self) -> PairedMetric:
        """Return it over the pairs that have it in both runs."""
        return self.at(np.isfinite(self.baseline + self.candidate).reshape(len(self.baseline), -1).all(axis=1))

    def at(self, positions: Sequence[int] | np.ndarray[Any, Any]) -> PairedMetric:
        """Return it over some of the pairs, by their positions or a mask."""
        left, right, clusters = self.baseline[positions], self.candidate[positions], self.clusters[positions]
        return replace(self, baseline=left, candidate=right, clusters=clusters)

    def means(self) -> tuple[float | None, float | None]:
        """Return the metric of either run."""
        if not len(self.baseline):
            return None, None
        if self.is_corpus:
            corpus = CORPUS_METRICS[self.name]
            return float(corpus(self.baseline.sum(axis=0))), float(corpus(self.candidate.sum(axis=0)))
        return float(self.baseline.mean()), float(self.candidate.mean())


def paired_metrics(runs: ScoredRuns, pairs: Pairs) -> Iterator[PairedMetric]:
    """Yield each metric that a line of either run has, then those of the whole run that their counts make."""
    before = [runs.baseline.scores.get(number) for number in pairs.baseline]
    after = [runs.candidate.scores.get(number) for number in pairs.candidate]
    lines = [line for line in (*before, *after) if line]
    lower, ranges = runs.lower_is_better, runs.score_ranges
    for name in dict.fromkeys(name for line in lines for name in line.scores):
        left, right = _scores(before, name), _scores(after, name)
        yield PairedMetric(name, left, right, pairs.clusters, name in lower, ranges.get(name, UNIT))
    for name in CORPUS_METRICS:
        counts = name.removeprefix("corpus_")
        width = max((len(line.counts.get(counts, ())) for line in lines), default=0)
        if width:
            left, right = _counts(before, counts, width), _counts(after, counts, width)
            yield PairedMetric(name, left, right, pairs.clusters, name in lower)


def compare_metrics(
    metrics: Mapping[str, PairedMetric], *, seed: int, positions: Sequence[int] | None = None
) -> dict[str, MetricComparison]:
    """Compare metrics over the pairs that have them in both runs, or over those of them at ``positions``."""
    complete = {
        name: (metric if positions is None else metric.at(positions)).complete() for name, metric in metrics.items()
    }
    groups: dict[bytes | str, list[str]] = {}
    for name, metric in complete.items():  # corpus metrics of the same lines share their draws
        groups.setdefault(metric.clusters.tobytes() if metric.is_corpus else name, []).append(name)
    slow_first = sorted(groups.values(), key=lambda names: not complete[names[0]].is_corpus)
    with threadpool_limits(1), ThreadPoolExecutor(processors()) as threads:  # NumPy computes outside of Python's lock
        inferred = threads.map(lambda names: _infer([complete[name] for name in names], seed), slow_first)
        paired = dict(zip(itertools.chain(*slow_first), itertools.chain(*inferred), strict=True))
    return {name: _metric_comparison(metric, paired[name]) for name, metric in complete.items()}


def _scores(lines: Sequence[LineScore | None], name: str) -> np.ndarray[Any, Any]:
    scores = [line.value(name) if line else None for line in lines]
    return np.array([np.nan if score is None else score for score in scores])


def _counts(lines: Sequence[LineScore | None], name: str, width: int) -> np.ndarray[Any, Any]:
    absent = [np.nan] * width
    return np.array([line.counts.get(name, absent) if line else absent for line in lines])


def _infer(metrics: Sequence[PairedMetric], seed: int) -> list[PairedComparison]:
    """Compare one metric of scores, or corpus metrics of the same lines."""
    rng, clusters = np.random.default_rng(seed), metrics[0].clusters
    if metrics[0].is_corpus:
        corpora = [(metric.baseline, metric.candidate, CORPUS_METRICS[metric.name]) for metric in metrics]
        return compare_corpora(corpora, clusters=clusters, rng=rng)
    return [
        compare_pairs(metric.baseline, metric.candidate, clusters=clusters, rng=rng, score_range=metric.score_range)
        for metric in metrics
    ]


def _metric_comparison(metric: PairedMetric, paired: PairedComparison) -> MetricComparison:
    baseline, candidate = metric.means()
    wins, losses = (paired.losses, paired.wins) if metric.lower_is_better else (paired.wins, paired.losses)
    return MetricComparison(
        baseline=baseline,
        candidate=candidate,
        difference=Difference(mean=paired.mean, low=paired.low, high=paired.high),
        p=paired.p,
        p_permutation=paired.p_permutation,
        wins=wins,
        losses=losses,
        ties=paired.ties,
        minimum_detectable_effect=paired.minimum_detectable_effect,
        lines_needed=paired.lines_needed,
        n=paired.n,
        method=paired.method,
        lower_is_better=metric.lower_is_better,
        se=paired.se,
    )
