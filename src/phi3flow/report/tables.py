"""The report's tables as data: metrics with their figures' axes, and what the runs were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from phi3flow.records.comparisons import Comparison, MetricComparison
from phi3flow.records.runs import Manifest
from phi3flow.records.scores import Estimate
from phi3flow.report.figures import Scale
from phi3flow.report.headline import confirmatory
from phi3flow.report.run_view import RunView, as_text, scale_of
from phi3flow.report.wording import duration, judging_lines


@dataclass(frozen=True)
class MetricRow:
    """One metric: each run's estimate on ``scale``, and the paired difference on ``difference_scale``.

    What is better lies to the right on the second: it is reversed where ``lower_is_better``.
    """

    name: str
    estimates: list[Estimate | None]
    comparison: MetricComparison | None
    confirmatory: bool
    scale: Scale
    difference_scale: Scale
    lower_is_better: bool = False


@dataclass(frozen=True)
class MetricTable:
    """The metrics of one run, or of a baseline and a candidate, by evaluation flow."""

    runs: list[RunView]
    comparison: Comparison | None
    groups: dict[str, list[MetricRow]]

    @property
    def rows(self) -> list[MetricRow]:
        """All rows, in order."""
        return [row for rows in self.groups.values() for row in rows]


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
    names.sort(key=_evaluation)
    scales = {name: scale_of(name, runs) for name in names}
    lower = frozenset[str]().union(*(run.lower_is_better for run in runs))
    rows = [
        MetricRow(
            name=name,
            estimates=[run.estimates.get(name) for run in runs],
            comparison=compared.get(name),
            confirmatory=name in leading,
            scale=scale,
            difference_scale=difference_scale(
                [compared[other] for other in compared if scales[other] == scale], reverse=name in lower
            ),
            lower_is_better=name in lower,
        )
        for name, scale in scales.items()
    ]
    groups = {evaluation: list(group) for evaluation, group in groupby(rows, lambda row: _evaluation(row.name))}
    return MetricTable(list(runs), comparison, groups)


def difference_scale(alike: Sequence[MetricComparison], *, reverse: bool) -> Scale:
    """Return an axis with zero in its middle that holds the differences of all ``alike``, low to high or reversed."""
    bounds = [getattr(metric.difference, bound) for metric in alike for bound in ("mean", "low", "high")]
    reach = max((abs(bound) for bound in bounds if bound is not None), default=0.0) or 1.0
    return Scale(reach, -reach) if reverse else Scale(-reach, reach)


def provenance(runs: Sequence[RunView]) -> list[ProvenanceRow]:
    """Return the manifests and what is known of their data side by side, without the facts that no run has."""
    facts = [_facts(run.manifest) | run.data.facts | _judges(run) for run in runs]
    names = dict.fromkeys(name for fact in facts for name in fact)
    rows = [ProvenanceRow(name, [fact.get(name, "") for fact in facts]) for name in names]
    return [row for row in rows if any(row.values)]


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


def _judges(run: RunView) -> dict[str, str]:
    return {f"scores of {evaluation}": "\n".join(judging_lines(judging)) for evaluation, judging in run.judging.items()}


def _pairs(values: dict[str, object] | dict[str, str]) -> str:
    return "\n".join(f"{key} = {as_text(value)}" for key, value in values.items())
