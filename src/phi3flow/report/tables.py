"""The report's tables as data: metrics with their figures' axes, and what the runs were made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.records.runs import Manifest
from phi3flow.records.scores import Estimate
from phi3flow.report.figures import Scale
from phi3flow.report.headline import confirmatory
from phi3flow.report.run_view import RunView, as_text, scale_of
from phi3flow.report.wording import judging_lines
from phi3flow.text import duration


@dataclass(frozen=True)
class MetricRow:
    """One metric: an estimate a run on ``scale``, and the paired difference on ``difference_scale``.

    What is better lies to the right on the second: it is reversed where ``lower_is_better``. Where it is compared, the
    ``estimates`` are of the lines that the difference is of. ``answered`` are those of answered lines only, a list
    without any where that is no other reading.
    """

    name: str
    estimates: list[Estimate | None]
    comparison: MetricComparison | None
    confirmatory: bool
    scale: Scale
    difference_scale: Scale
    lower_is_better: bool = False
    answered: list[Estimate | None] = field(default_factory=list)


@dataclass(frozen=True)
class MetricTable:
    """The metrics of one run, or of a baseline and a candidate, by evaluation flow.

    ``sentences`` say what each compared metric shows, as ``compare`` says it. Runs that are compared have no row for
    what different rulers measured; each run's own estimates are in its view.
    """

    runs: list[RunView]
    comparison: Comparison | None
    groups: dict[str, list[MetricRow]]

    @property
    def rows(self) -> list[MetricRow]:
        """All rows, in order."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def sentences(self) -> list[str]:
        """What each compared metric shows."""
        if self.comparison is None:
            return []
        return [describe_verdict(row.name, self.comparison) for row in self.rows if row.comparison]


@dataclass(frozen=True)
class ProvenanceRow:
    """One fact of the manifests, a value a run; ``differs`` where the runs do not agree."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether the runs do not agree."""
        return len(set(self.values)) > 1


def metric_table(runs: Sequence[RunView], comparison: Comparison | None) -> MetricTable:
    """Return the metrics that any of ``runs`` has, the confirmatory ones first within their evaluation."""
    compared = comparison.metrics if comparison else {}
    leading = confirmatory(comparison) if comparison else []
    names = list(dict.fromkeys([*leading, *compared, *(name for run in runs for name in run.estimates)]))
    if comparison:
        names = [name for name in names if name in compared or sum(name in run.estimates for run in runs) == 1]
    names.sort(key=_evaluation)
    scales = {name: scale_of(name, runs) for name in names}
    rows = [
        _row(
            name,
            runs,
            comparison,
            scale=scale,
            alike=[compared[other] for other in compared if scales[other] == scale],
        )
        for name, scale in scales.items()
    ]
    groups = {evaluation: list(group) for evaluation, group in groupby(rows, lambda row: _evaluation(row.name))}
    return MetricTable(list(runs), comparison, groups)


def _row(
    name: str,
    runs: Sequence[RunView],
    comparison: Comparison | None,
    *,
    scale: Scale,
    alike: Sequence[MetricComparison],
) -> MetricRow:
    own = [run.estimates.get(name) for run in runs]
    answered = [run.answered_only.get(name) for run in runs]
    lower = any(name in run.lower_is_better for run in runs)
    row = MetricRow(
        name, own, None, False, scale, difference_scale(alike, reverse=lower), lower, answered if any(answered) else []
    )
    metric = comparison.metrics.get(name) if comparison else None
    if metric is None or metric.difference.mean is None:
        return row
    return replace(
        row,
        estimates=paired_means(metric, own),
        comparison=metric,
        confirmatory=metric.confirmatory,
        answered=answered_means(metric),
    )


def paired_means(metric: MetricComparison, own: Sequence[Estimate | None] = (None, None)) -> list[Estimate | None]:
    """Return what a metric is of either run over the paired lines; with the run's own interval where they are all."""
    means = (metric.baseline, metric.candidate)
    return [
        estimate
        if estimate and estimate.n == metric.n and _is_equal(estimate.mean, mean)
        else Estimate(mean=mean, n=metric.n, method=metric.method)
        for mean, estimate in zip(means, own, strict=True)
    ]


def answered_means(metric: MetricComparison) -> list[Estimate | None]:
    """Return what a metric is of either run over the lines that both answered; none where that is no other reading."""
    answered = metric.answered_only
    if answered is None:
        return []
    return [Estimate(mean=mean, n=answered.n, method=metric.method) for mean in (answered.baseline, answered.candidate)]


def difference_scale(alike: Sequence[MetricComparison], *, reverse: bool) -> Scale:
    """Return an axis with zero in its middle that holds the differences of all ``alike``, low to high or reversed."""
    bounds = [getattr(metric.difference, bound) for metric in alike for bound in ("mean", "low", "high")]
    reach = max((abs(bound) for bound in bounds if bound is not None), default=0.0) or 1.0
    return Scale(reach, -reach) if reverse else Scale(-reach, reach)


def provenance(runs: Sequence[RunView]) -> list[ProvenanceRow]:
    """Return the manifests and what is known of their data side by side, without the facts that no run has."""
    facts = [_facts(run.manifest) | run.data.facts | _measured(run) for run in runs]
    names = dict.fromkeys(name for fact in facts for name in fact)
    rows = [ProvenanceRow(name, [fact.get(name, "") for fact in facts]) for name in names]
    return [row for row in rows if any(row.values)]


def _is_equal(left: float | None, right: float | None) -> bool:
    return left is not None and right is not None and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)


def _evaluation(metric: str) -> str:
    return metric.rpartition(".")[0]


def _facts(manifest: Manifest) -> dict[str, str]:
    connections = [
        f"{key} = {use.name}" + (f" ({use.host})" if use.host else "") for key, use in manifest.connections.items()
    ]
    return {
        "flow": manifest.flow,
        "flow fingerprint": manifest.flow_fingerprint,
        "variant": manifest.variant or "",
        "data": manifest.data,
        "data SHA-256": manifest.data_sha256,
        "column mapping": _pairs(manifest.column_mapping),
        "connections": "\n".join(connections),
        "parameters": _pairs(manifest.parameters.model_dump(mode="json")),
        "concurrency": str(manifest.concurrency),
        "status": manifest.status,
        "started": manifest.started_at.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "time running": duration(manifest.duration_s),
        "git commit": manifest.git_commit or "",
        "versions": _pairs(manifest.versions),
    }


def _measured(run: RunView) -> dict[str, str]:
    """Return what measured the run, and who judged it."""
    facts = {}
    for evaluation, metrics in run.metrics.items():
        if metrics.evaluation:
            ruler = metrics.evaluation
            mapping = _pairs(ruler.column_mapping)
            facts[f"measured by {evaluation}"] = (
                f"{ruler.flow}\nfingerprint = {ruler.flow_fingerprint}\n{mapping}".rstrip()
            )
        if metrics.judging:
            facts[f"scores of {evaluation}"] = "\n".join(judging_lines(metrics.judging))
    return facts


def _pairs(values: dict[str, object] | dict[str, str]) -> str:
    return "\n".join(f"{key} = {as_text(value)}" for key, value in values.items())
