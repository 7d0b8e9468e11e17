"""Metrics of two runs over the lines that both have: inferred several at once, with ``phi3flow.stats``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from phi3flow.project.machine import processors
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.records.scores import ScoreRange
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

    def known(self) -> PairedMetric:
        """Return it over the pairs that have it in both runs."""
        return self.at(np.isfinite(self.baseline + self.candidate).reshape(len(self.baseline), -1).all(axis=1))

    def at(self, places: Sequence[int] | np.ndarray[Any, Any]) -> PairedMetric:
        """Return it over some of the pairs."""
        left, right, clusters = self.baseline[places], self.candidate[places], self.clusters[places]
        return replace(self, baseline=left, candidate=right, clusters=clusters)

    def means(self) -> tuple[float | None, float | None]:
        """Return the metric of either run."""
        if not len(self.baseline):
            return None, None
        if self.is_corpus:
            corpus = CORPUS_METRICS[self.name]
            return float(corpus(self.baseline.sum(axis=0))), float(corpus(self.candidate.sum(axis=0)))
        return float(self.baseline.mean()), float(self.candidate.mean())


def compare_metrics(
    paired: Mapping[str, PairedMetric], seed: int, places: Sequence[int] | None = None
) -> dict[str, MetricComparison]:
    """Compare metrics over the pairs that have them in both runs, or over those of them at ``places``."""
    known = {name: (one if places is None else one.at(places)).known() for name, one in paired.items()}
    groups: dict[Any, list[str]] = {}
    for name, one in known.items():  # corpus metrics of the same lines share their draws
        groups.setdefault(one.clusters.tobytes() if one.is_corpus else name, []).append(name)
    slow_first = sorted(groups.values(), key=lambda names: not known[names[0]].is_corpus)
    with threadpool_limits(1), ThreadPoolExecutor(processors()) as threads:  # NumPy computes outside of Python's lock
        found = threads.map(lambda names: _infer([known[name] for name in names], seed), slow_first)
        compared = dict(zip(itertools.chain(*slow_first), itertools.chain(*found), strict=True))
    return {
        name: _metric_comparison(compared[name], *one.means(), lower_is_better=one.lower_is_better)
        for name, one in known.items()
    }


def _infer(metrics: Sequence[PairedMetric], seed: int) -> list[PairedComparison]:
    """Compare one metric of scores, or corpus metrics of the same lines."""
    rng, clusters = np.random.default_rng(seed), metrics[0].clusters
    if metrics[0].is_corpus:
        corpora = [(one.baseline, one.candidate, CORPUS_METRICS[one.name]) for one in metrics]
        return compare_corpora(corpora, clusters=clusters, rng=rng)
    return [
        compare_pairs(one.baseline, one.candidate, clusters=clusters, rng=rng, score_range=one.score_range)
        for one in metrics
    ]


def _metric_comparison(
    found: PairedComparison, baseline: float | None, candidate: float | None, *, lower_is_better: bool
) -> MetricComparison:
    wins, losses = (found.losses, found.wins) if lower_is_better else (found.wins, found.losses)
    return MetricComparison(
        baseline=baseline,
        candidate=candidate,
        difference=Difference(mean=found.mean, low=found.low, high=found.high),
        p=found.p,
        p_permutation=found.p_permutation,
        wins=wins,
        losses=losses,
        ties=found.ties,
        minimum_detectable_effect=found.minimum_detectable_effect,
        lines_needed=found.lines_needed,
        n=found.n,
        method=found.method,
        lower_is_better=lower_is_better,
        se=found.se,
    )
