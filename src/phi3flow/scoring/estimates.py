"""From the scores of a run's lines to an estimate of each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from phi3flow.records.scores import AGGREGATION, Estimate, FailedLines, LineScore, ScoreRange
from phi3flow.runs.repeats import average_repeats, repeat_variances
from phi3flow.stats import CORPUS_METRICS, estimate_corpora, estimate_mean


def estimate_metrics(
    scores: Sequence[LineScore],
    *,
    logged: Mapping[str, float],
    clusters: Sequence[str],
    lines: int,
    ranges: Mapping[str, ScoreRange | None],
    failed_lines: FailedLines = "least",
) -> dict[str, Estimate]:
    """Return an estimate for each metric of the lines, and each logged one that no line has, without interval.

    What is logged under the name of lines' scores is their mean; where it is not, it is kept as NAME_logged.
    ``clusters`` holds a label for each line_number; ``lines`` is ``Manifest.lines``: what ran repeatedly is averaged
    within a line first. ``failed_lines`` is how lines that failed in the run are read; one whose scoring failed has no
    value. ``ranges`` are the metrics' ranges, None where nobody knows one.
    """
    averaged = average_repeats(scores, lines, failed_lines)
    estimates = {}
    for name in metric_names(averaged):
        estimate = _estimate_lines(name, averaged, clusters, ranges.get(name), failed_lines)
        estimates[name] = estimate.model_copy(update={"repeats": repeat_variances(scores, lines, name)})
    logged = {
        f"{name}_logged" if name in estimates else name: value
        for name, value in logged.items()
        if name not in estimates or not _is_mean(value, name, averaged, estimates[name].mean)
    }
    corpora = _estimate_corpora(_corpus_names(scores, logged), averaged, clusters, failed_lines)
    return estimates | {name: corpora.get(name) or _logged(value, averaged) for name, value in logged.items()} | corpora


def metric_names(scores: Sequence[LineScore]) -> list[str]:
    """Return the names of the metrics that lines have."""
    scored = dict.fromkeys(name for line in scores for name in line.scores)
    return list(scored | dict.fromkeys(name for line in scores for name in line.counted_as))


def _is_mean(value: float, name: str, lines: Iterable[LineScore], mean: float | None) -> bool:
    """Whether a logged value is the ``mean`` of a metric, or that of its scores without failed lines."""
    scores = [score for line in lines if (score := line.scores.get(name)) is not None]
    means = [mean, float(np.mean(scores)) if scores else None]
    return any(other is not None and math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9) for other in means)


def _estimate_lines(
    name: str,
    lines: Sequence[LineScore],
    clusters: Sequence[str],
    score_range: ScoreRange | None,
    failed_lines: FailedLines,
) -> Estimate:
    values, labels = list[float](), list[str]()
    for line in lines:
        value = line.value(name, failed_lines)
        if value is not None:
            values.append(value)
            labels.append(clusters[line.line_number])
    n_unscored = sum(name in line.failures for line in lines)
    n_failed = sum(name in line.failures or name in line.counted_as for line in lines)
    estimate = estimate_mean(values, clusters=labels, n_failed=n_failed, score_range=score_range)
    note = _uncounted(name, lines, score_range) if failed_lines == "least" else None
    return estimate.model_copy(update={"n_unscored": n_unscored, "note": _join(estimate.note, note)})


def _uncounted(name: str, lines: Iterable[LineScore], score_range: ScoreRange | None) -> str | None:
    """Return why failed lines are not in the mean although failed lines count."""
    count = sum(line.counted_as.get(name, 0.0) is None for line in lines)
    if not count:
        return None
    reason = "nobody can say whether it applies to them"
    if score_range is None:
        reason = "no range of it is declared (the evaluation flow's tag score_ranges)"
    return f"{_lines(count)} that failed in the run are left out: {reason}"


def _corpus_names(scores: Sequence[LineScore], logged: Mapping[str, float]) -> list[str]:
    """Return the corpus metrics whose counts each scored line has, and make what the aggregation logged, if it did."""
    completed = [score for score in scores if score.status == "Completed"] or [
        score for score in scores if score.counts
    ]
    names = []
    for name, metric in CORPUS_METRICS.items():
        counts = [score.counts.get(_counts_of(name), []) for score in completed]
        if counts and all(counts):
            value = float(metric(np.array(counts, dtype=float).sum(axis=0)))
            if not logged or (name in logged and math.isclose(logged[name], value, rel_tol=1e-9, abs_tol=1e-9)):
                names.append(name)
    return names


def _estimate_corpora(
    names: Sequence[str], lines: Sequence[LineScore], clusters: Sequence[str], failed_lines: FailedLines
) -> dict[str, Estimate]:
    """Return corpus metrics with intervals, over the lines that have counts: of their answer, or of an empty one."""
    if not names:
        return {}
    counted = [line for line in lines if all(_counts_of(name) in line.counts for name in names)]
    corpora = [([line.counts[_counts_of(name)] for line in counted], CORPUS_METRICS[name]) for name in names]
    labels, rng = [clusters[line.line_number] for line in counted], np.random.default_rng(0)
    n_unscored = sum(line.answered and line.status == "Failed" for line in lines)
    n_failed = n_unscored + sum(not line.answered for line in lines)
    estimates = estimate_corpora(corpora, clusters=labels, n_failed=n_failed, rng=rng)
    without = sum(not line.answered and not line.counts for line in lines) if failed_lines == "least" else 0
    note = f"{_lines(without)} that failed in the run are left out: an empty answer's counts are not known"
    return {
        name: estimate.model_copy(
            update={"n_unscored": n_unscored, "note": _join(estimate.note, note if without else None)}
        )
        for name, estimate in zip(names, estimates, strict=True)
    }


def _logged(value: float, lines: Sequence[LineScore]) -> Estimate:
    """Return a metric that only the aggregation knows: it saw the lines that were scored, and no others."""
    n_unanswered = sum(not line.answered for line in lines)
    n_unscored = sum(line.answered and line.status == "Failed" for line in lines)
    failed = f"of answered lines only: {_lines(n_unanswered)} failed in the run" if n_unanswered else None
    return Estimate(
        mean=value if math.isfinite(value) else None,
        n=sum(line.status == "Completed" for line in lines),
        n_failed=n_unanswered + n_unscored,
        n_unscored=n_unscored,
        method=AGGREGATION,
        note=_join(None if math.isfinite(value) else f"the aggregation logged {value}", failed),
    )


def _counts_of(name: str) -> str:
    return name.removeprefix("corpus_")


def _lines(count: int) -> str:
    return f"{count:,} line{'s' * (count != 1)}"


def _join(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None
