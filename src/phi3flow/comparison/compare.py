"""Compare scored runs: pair their lines, infer each metric's difference, and decide what it shows.

The confirmatory metrics of all candidates share one level, and so do all slices. A metric whose test stopped its run
early keeps what that test found, in place of a test for a number of lines fixed before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi3flow.comparison.confirmatory import choose_confirmatory
from phi3flow.comparison.inference import InferredMetric, infer_metrics
from phi3flow.comparison.margins import NO_MARGINS, Margins
from phi3flow.comparison.notes import count_failed, describe_notes
from phi3flow.comparison.pairing import pair_lines
from phi3flow.comparison.readings import PairedMetric, paired_metrics
from phi3flow.comparison.scored_runs import read_scored_runs
from phi3flow.comparison.slices import LineSlice, describe_slices, slice_rows
from phi3flow.comparison.stopping import Watched, watched_runs
from phi3flow.comparison.verdicts import Adjusted, judge_metric
from phi3flow.comparison.whole_run import whole_run_metrics
from phi3flow.records.comparisons import Comparison, MetricComparison, SliceComparison
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import ALPHA, holm


def compare_runs(
    baseline: RunFolder,
    candidate: RunFolder,
    *,
    metrics: Sequence[str] | None = None,
    pair_by: str | None = None,
    by: Sequence[str] = (),
    margins: Margins = NO_MARGINS,
    seed: int = 0,
) -> Comparison:
    """Compare every metric that both runs are scored by, candidate minus baseline, over their common lines.

    As ``compare_with_baseline``, for one candidate.
    """
    return compare_with_baseline(
        baseline, [candidate], metrics=metrics, pair_by=pair_by, by=by, margins=margins, seed=seed
    )[0]


def compare_with_baseline(
    baseline: RunFolder,
    candidates: Sequence[RunFolder],
    *,
    metrics: Sequence[str] | None = None,
    pair_by: str | None = None,
    by: Sequence[str] = (),
    margins: Margins = NO_MARGINS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare each candidate with the baseline, over the lines that the two have in common.

    Lines are paired by line_id, or by the data column ``pair_by``; a metric counts those that both runs scored, where a
    line that failed in its run counts as the metric's worst score. ``metrics`` (full or unambiguous short names) are
    confirmatory: they share one level with those of all candidates, by Holm and by Bonferroni. The default is the
    metric whose test watched one of the two runs, else value_accuracy where it applies to half of the lines, else f1,
    else the first. They are compared within each slice of the data's columns ``by`` too, where all slices share one
    level. ``margins`` are those within which runs are equivalent.

    Raises ConfigError where a run is not scored, or measured by another ruler than the baseline, a metric or column
    is unknown, or no line is common to both.
    """
    drafts = [_draft(baseline, candidate, metrics, pair_by, by, margins) for candidate in candidates]
    tests = sum(len(draft.tested) for draft in drafts)
    slice_tests = sum(len(draft.tested) * len(draft.slices) for draft in drafts)
    inferred = [draft.infer(tests, seed) for draft in drafts]
    sliced = [draft.infer_slices(slice_tests, seed) for draft in drafts]
    adjusted = _adjust(
        [metrics[name] for draft, metrics in zip(drafts, inferred, strict=True) for name in draft.tested]
    )
    adjusted_slices = _adjust([metric for slices in sliced for metrics in slices for metric in metrics.values()])
    return [
        draft.conclude(
            draft.judge(of_draft, dict(zip(draft.tested, adjusted, strict=False))),
            [draft.judge(of_slice, dict(zip(of_slice, adjusted_slices, strict=False))) for of_slice in slices],
        )
        for draft, of_draft, slices in zip(drafts, inferred, sliced, strict=True)
    ]


@dataclass(frozen=True)
class _Draft:
    """Two runs before anything is inferred; ``tested`` are the confirmatory metrics that lines have.

    ``opening`` has all of the comparison that is no inference.
    """

    opening: Comparison
    paired: Mapping[str, PairedMetric]
    whole_run: Mapping[str, MetricComparison]
    confirmatory: Sequence[str]
    margins: Mapping[str, float | None]
    slices: Sequence[LineSlice]
    watched: Watched

    @property
    def tested(self) -> list[str]:
        return [name for name in self.confirmatory if name in self.paired]

    def infer(self, tests: int, seed: int) -> dict[str, InferredMetric]:
        """Infer all metrics over all pairs; the tested ones share their level with ``tests``."""
        inferred = infer_metrics(self.paired, tests=dict.fromkeys(self.tested, tests), seed=seed)
        return {name: self.watched.apply(name, metric) for name, metric in inferred.items()}

    def infer_slices(self, tests: int, seed: int) -> list[dict[str, InferredMetric]]:
        """Infer the tested metrics within each slice, at a level that ``tests`` share."""
        tested, shared = {name: self.paired[name] for name in self.tested}, dict.fromkeys(self.tested, tests)
        return [infer_metrics(tested, tests=shared, seed=seed, positions=piece.positions) for piece in self.slices]

    def judge(
        self, inferred: Mapping[str, InferredMetric], adjusted: Mapping[str, Adjusted]
    ) -> dict[str, MetricComparison]:
        return {
            name: judge_metric(
                metric,
                adjusted=adjusted.get(name),
                margin=self.margins.get(name),
                void=self.watched.void(metric),
            )
            for name, metric in inferred.items()
        }

    def conclude(
        self, metrics: Mapping[str, MetricComparison], slices: Sequence[dict[str, MetricComparison]]
    ) -> Comparison:
        """Return the comparison, its confirmatory metrics first."""
        metrics = {**metrics, **self.whole_run}
        named = {name: metrics[name].model_copy(update={"confirmatory": True}) for name in self.confirmatory}
        return self.opening.model_copy(
            update={
                "metrics": {**named, **metrics, **named},
                "slices": [
                    SliceComparison(column=piece.column, value=piece.value, n=len(piece.positions), metrics=of_slice)
                    for piece, of_slice in zip(self.slices, slices, strict=True)
                ],
            }
        )


def _draft(
    baseline: RunFolder,
    candidate: RunFolder,
    metrics: Sequence[str] | None,
    pair_by: str | None,
    by: Sequence[str],
    margins: Margins,
) -> _Draft:
    evaluations, unlike = read_scored_runs(baseline, candidate)
    pairs = pair_lines(evaluations, by=pair_by)
    paired = {
        f"{runs.evaluation}.{metric.name}": metric for runs in evaluations for metric in paired_metrics(runs, pairs)
    }
    whole_run = whole_run_metrics(evaluations, paired)
    watched = watched_runs(baseline, candidate)
    confirmatory = choose_confirmatory(
        metrics, paired, whole_run, unlike, watched=watched.outcome.metric if watched.outcome else None
    )
    slices = [line_slice for column in by for line_slice in slice_rows(pairs.rows, column)]
    return _Draft(
        opening=Comparison(
            baseline=baseline.name,
            candidate=candidate.name,
            n_paired=len(pairs.baseline),
            unmatched=pairs.unmatched,
            measured_otherwise=pairs.measured_otherwise,
            failed=count_failed(evaluations[0], pairs),
            metrics={},
            slices_note=describe_slices([len(piece.positions) for piece in slices], ALPHA) if slices else None,
            notes=describe_notes(evaluations, pairs, unlike),
        ),
        paired=paired,
        whole_run=whole_run,
        confirmatory=confirmatory,
        margins=margins.resolve(confirmatory),
        slices=slices,
        watched=watched,
    )


def _adjust(family: Sequence[InferredMetric]) -> Iterator[Adjusted]:
    """Yield Holm's adjusted p of each test of a family, by either reading of failed lines."""
    primary = holm([metric.primary.paired.p for metric in family])
    answered_only = holm([(metric.answered_only or metric.primary).paired.p for metric in family])
    return map(Adjusted, primary, answered_only)
