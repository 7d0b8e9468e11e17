"""Compare scored runs: pair their lines, infer each metric's difference, correct the confirmatory ones for each other.

What stopped a run early keeps the interval that allows for it, in place of the one for a number of lines fixed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi3flow.comparison.confirmatory import default_metric, resolve_metrics
from phi3flow.comparison.metrics import PairedMetric, compare_metrics, paired_metrics
from phi3flow.comparison.pairing import pair_lines
from phi3flow.comparison.scored_runs import read_scored_runs, refuse_unlike_failures
from phi3flow.comparison.slices import LineSlice, describe_slices, slice_rows
from phi3flow.records.comparisons import Comparison, MetricComparison, SliceComparison, StoppedEarly
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import ALPHA, holm


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
    drafts = [
        _draft(baseline, candidate, metrics=metrics, pair_by=pair_by, by=by, seed=seed) for candidate in candidates
    ]
    tests = [(index, name) for index, draft in enumerate(drafts) for name in draft.confirmatory]
    adjusted = holm([drafts[index].comparison.metrics[name].p for index, name in tests])
    p_holm = dict(zip(tests, adjusted, strict=True))
    return [
        draft.comparison.model_copy(
            update={
                "metrics": {
                    name: metric.model_copy(update={"p_holm": p_holm.get((index, name))})
                    for name, metric in draft.comparison.metrics.items()
                }
            }
        )
        for index, draft in enumerate(drafts)
    ]


@dataclass(frozen=True)
class _Draft:
    """A comparison before Holm's correction over all candidates; its ``confirmatory`` metrics come first in it."""

    comparison: Comparison
    confirmatory: list[str]


def _draft(
    baseline: RunFolder,
    candidate: RunFolder,
    *,
    metrics: Sequence[str] | None,
    pair_by: str | None,
    by: Sequence[str],
    seed: int,
) -> _Draft:
    evaluations = read_scored_runs(baseline, candidate)
    pairs = pair_lines(evaluations[0], by=pair_by)
    refuse_unlike_failures(evaluations)
    paired = {
        f"{runs.evaluation}.{metric.name}": metric for runs in evaluations for metric in paired_metrics(runs, pairs)
    }
    compared = compare_metrics(paired, seed=seed)
    if (early := candidate.manifest.stopped_early) and early.baseline == baseline.name:
        compared = {name: _as_stopped(name, metric, early) for name, metric in compared.items()}
    confirmatory = resolve_metrics(metrics, compared) if metrics else _default_confirmatory(compared)
    slices = [line_slice for column in by for line_slice in slice_rows(pairs.rows, column)]
    comparison = Comparison(
        baseline=baseline.name,
        candidate=candidate.name,
        n_paired=len(pairs.baseline),
        unmatched=pairs.unmatched,
        metrics={name: compared[name] for name in dict.fromkeys([*confirmatory, *compared])},
        slices=_compare_slices(slices, {name: paired[name] for name in confirmatory}, seed),
        slices_note=describe_slices([len(line_slice.positions) for line_slice in slices], ALPHA) if slices else None,
    )
    return _Draft(comparison, confirmatory)


def _default_confirmatory(compared: Mapping[str, MetricComparison]) -> list[str]:
    name = default_metric(name for name, metric in compared.items() if metric.n)
    return [name] if name else []


def _compare_slices(
    slices: Sequence[LineSlice], confirmatory: Mapping[str, PairedMetric], seed: int
) -> list[SliceComparison]:
    """Compare the confirmatory metrics within each slice; Holm is over the slices of a column, metric by metric."""
    compared = [compare_metrics(confirmatory, seed=seed, positions=line_slice.positions) for line_slice in slices]
    for column in dict.fromkeys(line_slice.column for line_slice in slices):
        of_column = [
            metrics for metrics, line_slice in zip(compared, slices, strict=True) if line_slice.column == column
        ]
        for name in confirmatory:
            for metrics, p in zip(of_column, holm([metrics[name].p for metrics in of_column]), strict=True):
                metrics[name] = metrics[name].model_copy(update={"p_holm": p})
    return [
        SliceComparison(column=line_slice.column, value=line_slice.value, n=len(line_slice.positions), metrics=metrics)
        for line_slice, metrics in zip(slices, compared, strict=True)
    ]


def _as_stopped(name: str, metric: MetricComparison, early: StoppedEarly) -> MetricComparison:
    """Give the metric that the run was tested by the interval and p that allow for it; mark the others, if it stopped.

    What plans for a number of lines that is fixed beforehand does not hold for it.
    """
    if name != early.metric:
        if early.verdict == "undecided":
            return metric
        return metric.model_copy(update={"method": f"{metric.method}; {early.metric} had stopped the run"})
    planned = dict.fromkeys(("p_permutation", "se", "minimum_detectable_effect", "lines_needed"))
    decided = {"difference": early.difference, "p": early.p, "method": "confidence sequence"}
    return metric.model_copy(update=planned | decided)
