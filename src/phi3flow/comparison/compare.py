"""Compare scored runs: pair their lines, then infer each metric's difference with ``phi3flow.stats``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from phi3flow.comparison.metrics import PairedMetric, compare_metrics
from phi3flow.comparison.pairing import Pairs, Scores, pair_lines, scores_by_number
from phi3flow.comparison.slices import LineSlice, describe_slices, slice_rows
from phi3flow.errors import ConfigError
from phi3flow.records.comparisons import Comparison, MetricComparison, SliceComparison, StoppedEarly
from phi3flow.records.scores import LineScore, RunMetrics
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import ALPHA, CORPUS_METRICS, UNIT, holm

DEFAULT_CONFIRMATORY = ("value_accuracy", "f1")


def compare_runs(
    baseline: RunFolder,
    candidate: RunFolder,
    *,
    metrics: Sequence[str] | None = None,
    pair_by: str | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare every metric that both runs are scored by, candidate minus baseline, over their common lines.

    As ``compare_with_baseline``, for one candidate.
    """
    return compare_with_baseline(baseline, [candidate], metrics=metrics, pair_by=pair_by, by=by, seed=seed)[0]


def compare_with_baseline(
    baseline: RunFolder,
    candidates: Sequence[RunFolder],
    *,
    metrics: Sequence[str] | None = None,
    pair_by: str | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
) -> list[Comparison]:
    """Compare each candidate with the baseline, over the lines that the two have in common.

    Lines are paired by line_id, or by the data column ``pair_by``; a metric counts those that both runs scored.
    ``metrics`` (full or unambiguous short names) are confirmatory: only they get ``p_holm``, which is over all of
    them and all candidates. The default is the first of value_accuracy and f1 that has pairs. They are compared within
    each slice of the data's columns ``by`` too; there ``p_holm`` is over the slices.

    Raises ConfigError where a run is not scored, a metric or column is unknown, or no line is common to both.
    """
    found = [_compare(baseline, candidate, metrics, pair_by, by, seed) for candidate in candidates]
    tests = [(place, name) for place, (_, names) in enumerate(found) for name in names]
    adjusted = holm([found[place][0].metrics[name].p for place, name in tests])
    p_holm = dict(zip(tests, adjusted, strict=True))
    return [
        comparison.model_copy(
            update={
                "metrics": {
                    name: metric.model_copy(update={"p_holm": p_holm.get((place, name))})
                    for name, metric in comparison.metrics.items()
                }
            }
        )
        for place, (comparison, _) in enumerate(found)
    ]


def _compare(
    baseline: RunFolder,
    candidate: RunFolder,
    metrics: Sequence[str] | None,
    pair_by: str | None,
    by: Sequence[str],
    seed: int,
) -> tuple[Comparison, list[str]]:
    """Return the comparison, its confirmatory metrics first, and their names."""
    evaluations = _common_evaluations(baseline, candidate)
    scores = {name: (scores_by_number(baseline, name), scores_by_number(candidate, name)) for name in evaluations}
    pairs = pair_lines(baseline, candidate, scores[evaluations[0]], pair_by)
    said = {name: (baseline.metrics(name), candidate.metrics(name)) for name in evaluations}
    _refuse_unlike_failures(baseline, candidate, said)
    paired = {
        f"{evaluation}.{one.name}": one
        for evaluation, sides in scores.items()
        for one in _paired_metrics(*sides, pairs, said[evaluation])
    }
    compared = compare_metrics(paired, seed)
    if (early := candidate.manifest.stopped_early) and early.baseline == baseline.name:
        compared = {name: _as_stopped(name, metric, early) for name, metric in compared.items()}
    confirmatory = resolve_metrics(metrics, compared) if metrics else _default_confirmatory(compared)
    slices = [found for column in by for found in slice_rows(pairs.rows, column)]
    return Comparison(
        baseline=baseline.name,
        candidate=candidate.name,
        n_paired=len(pairs.baseline),
        unmatched=pairs.unmatched,
        metrics={name: compared[name] for name in dict.fromkeys([*confirmatory, *compared])},
        slices=_compare_slices(slices, {name: paired[name] for name in confirmatory}, seed),
        slices_note=describe_slices([len(one.places) for one in slices], ALPHA) if slices else None,
    ), confirmatory


def resolve_metrics(names: Sequence[str], known: Mapping[str, object]) -> list[str]:
    """Return full names for full or short ones. Raises ConfigError for an unknown or an ambiguous name."""
    resolved = []
    for name in names:
        found = [full for full in known if name in (full, full.rpartition(".")[2])]
        if len(found) != 1:
            problem = f"is ambiguous: {', '.join(found)}" if found else f"is unknown: there are {', '.join(known)}"
            raise ConfigError(f"metric {name!r} {problem}")
        resolved += found
    return list(dict.fromkeys(resolved))


def _refuse_unlike_failures(
    baseline: RunFolder, candidate: RunFolder, said: Mapping[str, tuple[RunMetrics, RunMetrics]]
) -> None:
    for evaluation, (before, after) in said.items():
        if before.failed_as_zero != after.failed_as_zero:
            one, other = (baseline, candidate) if before.failed_as_zero else (candidate, baseline)
            raise ConfigError(
                f"{one.name} is scored by {evaluation} with --failed-as-zero and {other.name} without: failed lines "
                f"would count in one of them only; score either again with the other's choice"
            )


def _default_confirmatory(compared: Mapping[str, MetricComparison]) -> list[str]:
    for wanted in DEFAULT_CONFIRMATORY:
        for name, metric in compared.items():
            if name.rpartition(".")[2] == wanted and metric.n:
                return [name]
    return []


def _common_evaluations(baseline: RunFolder, candidate: RunFolder) -> list[str]:
    scored = {run: run.evaluations() for run in (baseline, candidate)}
    common = [name for name in scored[baseline] if name in scored[candidate]]
    if common:
        return common
    lacking = candidate if scored[baseline] else baseline
    flow = next(iter(scored[baseline] or scored[candidate]), "answer_match")
    raise ConfigError(
        f"run {lacking.name} is not scored{f' by {flow}' if any(scored.values()) else ''}: "
        f"phi3flow score {lacking.name} --flow flows/eval/{flow}"
    )


def _paired_metrics(
    left: Scores, right: Scores, pairs: Pairs, said: tuple[RunMetrics, RunMetrics]
) -> Iterator[PairedMetric]:
    """Yield each metric that a line of either run has, then those of the whole run that their counts make.

    What lower is better for and what the ranges are, either run's evaluation flow may have ``said``.
    """
    lower = {name for one in said for name in one.lower_is_better}
    ranges = {name: bounds for one in said for name, bounds in one.score_ranges.items()}
    before = [left.get(number) for number in pairs.baseline]
    after = [right.get(number) for number in pairs.candidate]
    lines = [line for line in (*before, *after) if line]
    for name in dict.fromkeys(name for line in lines for name in line.scores):
        both = (_scores(before, name), _scores(after, name))
        yield PairedMetric(name, *both, pairs.clusters, name in lower, ranges.get(name, UNIT))
    for name in CORPUS_METRICS:
        counts = name.removeprefix("corpus_")
        width = max((len(line.counts.get(counts, ())) for line in lines), default=0)
        if width:
            both = (_counts(before, counts, width), _counts(after, counts, width))
            yield PairedMetric(name, *both, pairs.clusters, name in lower)


def _scores(lines: Sequence[LineScore | None], name: str) -> np.ndarray[Any, Any]:
    found = [line.value(name) if line else None for line in lines]
    return np.array([np.nan if score is None else score for score in found])


def _counts(lines: Sequence[LineScore | None], name: str, width: int) -> np.ndarray[Any, Any]:
    absent = [np.nan] * width
    return np.array([line.counts.get(name, absent) if line else absent for line in lines])


def _compare_slices(
    slices: Sequence[LineSlice], confirmatory: Mapping[str, PairedMetric], seed: int
) -> list[SliceComparison]:
    """Compare the confirmatory metrics within each slice; Holm is over the slices of a column, metric by metric."""
    compared = [compare_metrics(confirmatory, seed, found.places) for found in slices]
    for column in dict.fromkeys(found.column for found in slices):
        places = [place for place, found in enumerate(slices) if found.column == column]
        for name in confirmatory:
            for place, p in zip(places, holm([compared[place][name].p for place in places]), strict=True):
                compared[place][name] = compared[place][name].model_copy(update={"p_holm": p})
    return [
        SliceComparison(column=found.column, value=found.value, n=len(found.places), metrics=metrics)
        for found, metrics in zip(slices, compared, strict=True)
    ]


def _as_stopped(name: str, metric: MetricComparison, early: StoppedEarly) -> MetricComparison:
    """Give the metric that stopped the run the interval and p that allow for it; mark the others.

    What plans for a number of lines that is fixed beforehand does not hold for it.
    """
    if name != early.metric:
        return metric.model_copy(update={"method": f"{metric.method}; {early.metric} had stopped the run"})
    planned = dict.fromkeys(("p_permutation", "se", "minimum_detectable_effect", "lines_needed"))
    decided = {"difference": early.difference, "p": early.p, "method": "confidence sequence"}
    return metric.model_copy(update=planned | decided)
