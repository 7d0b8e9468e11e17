"""The metrics of two runs, inferred several at once, by both readings of failed lines.

The statistics are ``phi3flow.stats``'; it compares one metric at a time, or corpus metrics that share their draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from phi3flow.comparison.readings import PairedMetric, PairedScores
from phi3flow.project.machine import processors
from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import FailedLines
from phi3flow.stats import ALPHA, CORPUS_METRICS, PairedComparison, compare_corpora, compare_pairs

_Key = tuple[str, FailedLines]


@dataclass(frozen=True)
class Reading:
    """A metric as inferred by one reading of failed lines: that of either run, and their difference."""

    baseline: float | None
    candidate: float | None
    paired: PairedComparison


@dataclass(frozen=True)
class InferredMetric:
    """A metric of two runs by the reading that its scores are made with, and by the other where lines failed.

    ``tests`` share the level of what decides it: 1 where it is exploratory. ``failed`` lines are of those that it was
    inferred from; ``is_watched`` where that was done while the run went on, at its own ``level``.
    """

    metric: PairedMetric
    tests: int
    failed: Sides
    primary: Reading
    answered_only: Reading | None
    is_watched: bool = False
    level: float = ALPHA


def infer_metrics(
    metrics: Mapping[str, PairedMetric],
    *,
    tests: Mapping[str, int],
    seed: int,
    positions: Sequence[int] | None = None,
) -> dict[str, InferredMetric]:
    """Infer each metric's difference over the pairs that have it in both runs, or over those at ``positions``.

    ``tests`` says how many tests share the level of a metric; one that it does not name has a level of its own.
    """
    if positions is not None:
        metrics = {name: metric.at(positions) for name, metric in metrics.items()}
    scores = {
        (name, reading): metric.read(reading) for name, metric in metrics.items() for reading in _readings(metric)
    }
    compared = _compare(scores, tests, seed)
    readings = {key: Reading(*scores[key].means(), paired) for key, paired in compared.items()}
    return {
        name: InferredMetric(
            metric=metric,
            tests=tests.get(name, 1),
            failed=metric.failed,
            primary=readings[name, metric.failed_lines],
            answered_only=readings.get((name, "left out")) if metric.failed_lines == "least" else None,
        )
        for name, metric in metrics.items()
    }


def _readings(metric: PairedMetric) -> list[FailedLines]:
    """Return by which readings the metric is inferred: by the second only where it differs."""
    if metric.failed_lines == "least" and metric.failed != Sides():
        return ["least", "left out"]
    return [metric.failed_lines]


def _compare(scores: Mapping[_Key, PairedScores], tests: Mapping[str, int], seed: int) -> dict[_Key, PairedComparison]:
    groups: dict[object, list[_Key]] = {}
    for key, metric in scores.items():  # corpus metrics of the same lines share their draws
        shared = (metric.clusters.tobytes(), key[1], tests.get(key[0], 1))
        groups.setdefault(shared if metric.is_corpus else key, []).append(key)
    slow_first = sorted(groups.values(), key=lambda keys: not scores[keys[0]].is_corpus)
    with threadpool_limits(1), ThreadPoolExecutor(processors()) as threads:  # NumPy computes outside of Python's lock
        inferred = threads.map(
            lambda keys: _infer([scores[key] for key in keys], tests.get(keys[0][0], 1), seed), slow_first
        )
        return dict(zip(itertools.chain(*slow_first), itertools.chain(*inferred), strict=True))


def _infer(metrics: Sequence[PairedScores], tests: int, seed: int) -> list[PairedComparison]:
    """Compare one metric of scores, or corpus metrics of the same lines."""
    rng, clusters = np.random.default_rng(seed), metrics[0].clusters
    if metrics[0].is_corpus:
        corpora = [(metric.baseline, metric.candidate, CORPUS_METRICS[metric.name]) for metric in metrics]
        return compare_corpora(corpora, clusters=clusters, rng=rng, tests=tests)
    return [
        compare_pairs(
            metric.baseline,
            metric.candidate,
            clusters=clusters,
            rng=rng,
            score_range=metric.score_range,
            tests=tests,
        )
        for metric in metrics
    ]
