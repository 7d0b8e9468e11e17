"""Decide a gate's rules about a scored run, and where they say so against a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.confirmatory import resolve_metrics
from phi3flow.errors import ConfigError
from phi3flow.gating.decisions import (
    GateResult,
    RuleResult,
    check_comparison,
    check_failed_share,
    check_line_count,
    check_threshold,
    combine,
)
from phi3flow.gating.rules import FailedShare, LineCount, MetricRule, Rule, Threshold
from phi3flow.records.comparisons import Comparison, StoppedEarly
from phi3flow.records.scores import Estimate
from phi3flow.runs.folder import RunFolder


def gate_run(
    run: RunFolder, *, rules: Sequence[Rule], baseline: RunFolder | None = None, pair_by: str | None = None
) -> GateResult:
    """Decide every rule about ``run``.

    The metrics of the rules against ``baseline`` are the comparison's confirmatory ones. Lines are paired as
    ``compare_runs`` does, by line_id or by the data column ``pair_by``.

    Raises ConfigError where the run has lines that were not run or not scored, a metric is unknown, the baseline is
    missing or lacks it, or no rule needs the baseline. Of a run that ended early only the metric and the baseline that
    ended it can be judged, by the interval that allows for it.
    """
    tested = run.manifest.stopped_early
    early = tested if tested and tested.verdict != "undecided" else None
    if not early:
        _refuse_unfinished(run)
    scored = _Scored.of(run)
    metrics = {rule: scored.resolve(rule) for rule in rules if isinstance(rule, MetricRule)}
    if early:
        _refuse_undecided_early(run, early, metrics, baseline)
    for evaluation in dict.fromkeys(metric.evaluation for metric in metrics.values()):
        _refuse_outdated(run, evaluation)
    comparison = _compare(scored, baseline, metrics, pair_by)
    of_metrics = {rule: _check_metric(rule, metric, comparison) for rule, metric in metrics.items()}
    results = [
        of_metrics[rule] if isinstance(rule, MetricRule) else _check_count(rule, scored, list(of_metrics.values()))
        for rule in rules
    ]
    return GateResult(
        run=run.name,
        baseline=baseline.name if baseline else None,
        outcome=combine([result.outcome for result in results]),
        rules=results,
        n_paired=comparison.n_paired if comparison else None,
        unmatched=comparison.unmatched if comparison else None,
    )


@dataclass(frozen=True)
class _Metric:
    """A metric of the run: the evaluation flow that gave it, its short name, and its estimate."""

    evaluation: str
    name: str
    estimate: Estimate

    @property
    def full_name(self) -> str:
        return f"{self.evaluation}.{self.name}"


@dataclass(frozen=True)
class _Scored:
    """A run and its metrics by full name."""

    run: RunFolder
    metrics: Mapping[str, _Metric]

    @classmethod
    def of(cls, run: RunFolder) -> _Scored:
        metrics = [
            _Metric(evaluation, name, estimate)
            for evaluation in run.evaluations()
            for name, estimate in run.metrics(evaluation).metrics.items()
        ]
        return cls(run, {metric.full_name: metric for metric in metrics})

    def resolve(self, rule: MetricRule) -> _Metric:
        """Return the rule's metric. Raises ConfigError where the run has no such scores."""
        evaluations = self.run.evaluations()
        flow = rule.metric.rpartition(".")[0]
        if not evaluations or (flow and not rule.metric.startswith(tuple(f"{name}." for name in evaluations))):
            raise _not_scored(rule, self.run, flow or "answer_match")
        if not self.metrics:
            counts = self.run.manifest.counts
            raise ConfigError(
                f"--rule {rule.text!r}: no line of run {self.run.name} has a score: {counts.failed:,} of "
                f"{counts.total:,} lines failed; phi3flow runs show {self.run.name} says why"
            )
        try:
            return self.metrics[resolve_metrics([rule.metric], self.metrics)[0]]
        except ConfigError as error:
            raise ConfigError(f"--rule {rule.text!r}: {error}") from None


def _compare(
    scored: _Scored, baseline: RunFolder | None, metrics: Mapping[MetricRule, _Metric], pair_by: str | None
) -> Comparison | None:
    against = {rule: metric for rule, metric in metrics.items() if not isinstance(rule, Threshold)}
    if baseline is None:
        return None
    if not against:
        raise ConfigError(
            f"--baseline {baseline.name}: no rule compares with it; add one such as "
            "--rule 'METRIC no worse than baseline by 0.05'"
        )
    if baseline.path == scored.run.path:
        raise ConfigError(f"--baseline {baseline.name}: is the run itself, which is never worse: name another run")
    for rule, metric in against.items():
        _refuse_incomparable(rule, metric, baseline)
    confirmatory = [metric.full_name for metric in against.values()]
    return compare_runs(baseline, scored.run, metrics=confirmatory, pair_by=pair_by)


def _check_metric(rule: MetricRule, metric: _Metric, comparison: Comparison | None) -> RuleResult:
    if isinstance(rule, Threshold):
        return check_threshold(rule, metric.full_name, metric.estimate)
    if comparison is None:
        raise ConfigError(f"--rule {rule.text!r} needs a baseline: --baseline RUN")
    return check_comparison(rule, metric.full_name, comparison.metrics[metric.full_name])


def _check_count(rule: LineCount | FailedShare, scored: _Scored, metrics: Sequence[RuleResult]) -> RuleResult:
    run = scored.run
    if isinstance(rule, FailedShare):
        counts = run.manifest.counts
        unscored = [scored.metrics[result.metric].estimate.n_failed for result in metrics if result.metric]
        return check_failed_share(rule, max([counts.failed, *unscored]), counts.total)
    if not run.evaluations():
        raise _not_scored(rule, run, "answer_match")
    lines = [(result.n, result.metric or "") for result in metrics] or _scored_lines(run)
    fewest, name = min(lines)
    return check_line_count(rule, fewest, name)


def _scored_lines(run: RunFolder) -> list[tuple[int, str]]:
    return [
        (sum(score.status == "Completed" for score in run.scores(evaluation)), evaluation)
        for evaluation in run.evaluations()
    ]


def _refuse_unfinished(run: RunFolder) -> None:
    manifest = run.manifest
    missing = manifest.counts.total - manifest.counts.completed - manifest.counts.failed
    if missing or not manifest.counts.total:
        raise ConfigError(
            f"run {run.name} is {manifest.status}: {missing:,} of {manifest.counts.total:,} lines were not run; "
            f"give its batch-run command again, then phi3flow score {run.name}"
        )


def _refuse_undecided_early(
    run: RunFolder, early: StoppedEarly, metrics: Mapping[MetricRule, _Metric], baseline: RunFolder | None
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


def _refuse_outdated(run: RunFolder, evaluation: str) -> None:
    counts, scored = run.manifest.counts, len(run.scores(evaluation))
    if scored < counts.completed + counts.failed:
        raise ConfigError(
            f"run {run.name} has {counts.completed + counts.failed:,} lines, and {evaluation} has scored {scored:,}: "
            f"phi3flow score {run.name} --flow flows/eval/{evaluation}"
        )


def _refuse_incomparable(rule: MetricRule, metric: _Metric, baseline: RunFolder) -> None:
    if metric.evaluation not in baseline.evaluations():
        raise _not_scored(rule, baseline, metric.evaluation)
    if metric.estimate.method == "aggregation":
        raise ConfigError(
            f"--rule {rule.text!r}: {metric.full_name} is logged for the whole run and has no scores of lines to pair; "
            "name a metric of the lines"
        )
    if metric.name not in baseline.metrics(metric.evaluation).metrics:
        raise ConfigError(
            f"--rule {rule.text!r}: run {baseline.name} has no {metric.full_name}; score it again: "
            f"phi3flow score {baseline.name} --flow flows/eval/{metric.evaluation}"
        )


def _not_scored(rule: Rule, run: RunFolder, evaluation: str) -> ConfigError:
    return ConfigError(
        f"--rule {rule.text!r}: run {run.name} is not scored by {evaluation} "
        f"(it has: {', '.join(run.evaluations()) or 'no scores'}): "
        f"phi3flow score {run.name} --flow flows/eval/{evaluation}"
    )
