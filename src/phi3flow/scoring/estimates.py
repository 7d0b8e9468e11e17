"""From the scores of a run's lines to an estimate of each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from phi3flow.flows import Flow
from phi3flow.records.scores import Estimate, LineScore, ScoreRange
from phi3flow.runs.repeats import average_repeats, repeat_variances
from phi3flow.stats import CORPUS_METRICS, UNIT, estimate_corpora, estimate_mean


def estimate_metrics(
    scores: Sequence[LineScore],
    *,
    logged: Mapping[str, float],
    clusters: list[str],
    lines: int,
    score_ranges: Mapping[str, ScoreRange],
) -> dict[str, Estimate]:
    """Return an estimate for each metric of the lines, and each logged one that no line has, without interval.

    ``clusters`` holds a label for each line_number; ``lines`` is ``Manifest.lines``: what ran repeatedly is averaged
    within a line first. A line without a number for a metric counts as failed where its
    ``failures`` say why, else neither as scored nor as failed (the metric does not apply to it).
    """
    averaged = average_repeats(scores, lines)
    scored = [line for line in averaged if line.status == "Completed"]
    n_failed = len(averaged) - len(scored)
    estimates: dict[str, Estimate] = {}
    for name in dict.fromkeys(name for line in scored for name in line.scores):
        values, labels = list[float](), list[str]()
        for line in averaged:
            value = line.value(name)
            if value is not None:
                values.append(value)
                labels.append(clusters[line.line_number])
        without = sum(name in line.failures and line.scores.get(name) is None for line in scored)
        estimate = estimate_mean(
            values, clusters=labels, n_failed=n_failed + without, score_range=score_ranges.get(name, UNIT)
        )
        estimates[name] = estimate.model_copy(update={"repeats": repeat_variances(scores, lines, name)})
    corpora = _estimate_corpora(logged, scored, n_failed, clusters)
    for name, value in logged.items():
        if name not in estimates:
            corpus, logged_one = corpora.get(name), _logged(value, len(scored), n_failed)
            estimates[name] = corpus if corpus and _is_close(corpus.mean, value) else logged_one
    return estimates


def least_scores(scores: Sequence[LineScore], flow: Flow) -> dict[str, float]:
    names = dict.fromkeys(name for score in scores for name in score.scores)
    return {name: flow.score_ranges.get(name, UNIT)[0] for name in names if name not in flow.lower_is_better}


def _estimate_corpora(
    logged: Iterable[str], scored: list[LineScore], n_failed: int, clusters: list[str]
) -> dict[str, Estimate]:
    """Return the corpus metrics among ``logged`` whose counts every line has, with intervals."""
    corpus_names = [name for name in logged if name in CORPUS_METRICS]
    counts = {name: [line.counts.get(name.removeprefix("corpus_"), []) for line in scored] for name in corpus_names}
    names = [name for name, line_counts in counts.items() if line_counts and all(line_counts)]
    if not names:
        return {}
    corpora = [(counts[name], CORPUS_METRICS[name]) for name in names]
    labels, rng = [clusters[line.line_number] for line in scored], np.random.default_rng(0)
    return dict(zip(names, estimate_corpora(corpora, clusters=labels, n_failed=n_failed, rng=rng), strict=True))


def _is_close(mean: float | None, value: float) -> bool:
    return mean is not None and math.isclose(mean, value, rel_tol=1e-9, abs_tol=1e-9)


def _logged(value: float, n: int, n_failed: int) -> Estimate:
    mean, note = (value, None) if math.isfinite(value) else (None, f"the aggregation logged {value}")
    return Estimate(mean=mean, n=n, n_failed=n_failed, method="aggregation", note=note)
