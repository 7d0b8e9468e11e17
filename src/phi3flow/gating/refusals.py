"""What a gate cannot decide, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from phi3flow.comparison.rulers import Measured, match_evaluations
from phi3flow.errors import ConfigError
from phi3flow.gating.rules import MetricRule, Threshold
from phi3flow.gating.scored_metrics import GatedRun, ScoredMetric, not_scored
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.records.record import SCHEMA_VERSION
from phi3flow.records.scores import AGGREGATION
from phi3flow.runs.folder import RunFolder


def refuse_unfinished(run: GatedRun) -> None:
    """Raise ConfigError where lines were not run."""
    counts = run.manifest.counts
    missing = counts.total - counts.completed - counts.failed
    if missing or not counts.total:
        raise ConfigError(
            f"run {run.name} is {run.manifest.status}: {missing:,} of {counts.total:,} lines were not run; "
            f"give its batch-run command again, then phi3flow score {run.name}"
        )


def refuse_undecided_early(
    run: GatedRun, early: StoppedEarly, metrics: Mapping[MetricRule, ScoredMetric], baseline: RunFolder | None
) -> None:
    """Refuse rules that the run was not ended by: when it ended, the data said, and their intervals do not allow it."""
    for rule, metric in metrics.items():
        compares = not isinstance(rule, Threshold) and baseline is not None and baseline.name == early.baseline
        if not compares or metric.full_name != early.metric:
            raise ConfigError(
                f"--rule {rule.text!r}: run {run.name} ended when {early.metric} was decided against {early.baseline}; "
                "only rules that compare these two are decided by it. For others give its batch-run command again, "
                f"without --stop-when-decided, then phi3flow score {run.name}"
            )


def refuse_outdated(run: GatedRun, named: Collection[str]) -> None:
    """Raise ConfigError where the scores by the ``named`` evaluations are an earlier build's, or of other lines.

    Where none is named, the rules are about all evaluations of the run.
    """
    for evaluation in named or run.evaluations:
        metrics = run.estimates[evaluation]
        measured = Measured(run.folder, evaluation, metrics)
        if metrics.schema_version < SCHEMA_VERSION or metrics.evaluation is None:
            raise ConfigError(
                f"run {run.name}: its scores by {evaluation} are an earlier build's, which did not note what measured "
                f"them: {measured.score_again()}"
            )
        scores = run.scores(evaluation)
        outdated = measured.outdated(scores)
        if outdated and (scores or evaluation in named):
            raise ConfigError(outdated)


def match_metrics(
    run: GatedRun, baseline: RunFolder, against: Sequence[tuple[MetricRule, ScoredMetric]]
) -> dict[str, str]:
    """Return the full names that the comparison with the baseline gives to the rules' metrics, by the run's own.

    Raises ConfigError where no rule compares with the baseline, it is the run itself, lacks a rule's metric, or was
    measured by another ruler.
    """
    if not against:
        raise ConfigError(
            f"--baseline {baseline.name}: no rule compares with it; add one such as "
            "--rule 'METRIC no worse than baseline by 0.05'"
        )
    if baseline.path == run.folder.path:
        raise ConfigError(f"--baseline {baseline.name}: is the run itself, which is never worse: name another run")
    if not baseline.evaluations():
        raise not_scored(against[0][0], baseline, against[0][1].evaluation)
    matches = match_evaluations(baseline, run.folder)
    alike = {match.candidate.folder: match for match in matches.alike}
    unlike = {mismatch.candidate: mismatch.problem for mismatch in matches.unlike}
    names = {}
    for rule, metric in against:
        if problem := unlike.get(metric.evaluation):
            raise ConfigError(f"--rule {rule.text!r}: {problem}")
        if metric.evaluation not in alike:
            raise not_scored(rule, baseline, metric.evaluation)
        match = alike[metric.evaluation]
        _refuse_incomparable(rule, metric, match.baseline)
        names[metric.full_name] = f"{match.name}.{metric.name}"
    return names


def _refuse_incomparable(rule: MetricRule, metric: ScoredMetric, baseline: Measured) -> None:
    if metric.estimate.method == AGGREGATION:
        raise ConfigError(
            f"--rule {rule.text!r}: {metric.full_name} is logged for the whole run and has no scores of lines to pair; "
            "name a metric of the lines"
        )
    if metric.name not in baseline.metrics.metrics:
        raise ConfigError(
            f"--rule {rule.text!r}: run {baseline.run.name} has no {metric.full_name}; score it again: "
            f"{baseline.score_again()}"
        )
