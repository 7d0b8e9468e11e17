"""Decide a gate's rules about a scored run, and where they say so against a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.gating.checks import check_comparison, check_failed_share, check_line_count, check_threshold
from phi3flow.gating.decisions import combine
from phi3flow.gating.evidence import Evidence
from phi3flow.gating.refusals import refuse_baseline, refuse_outdated, refuse_undecided_early, refuse_unfinished
from phi3flow.gating.rules import FailedShare, LineCount, MetricRule, Rule, Threshold
from phi3flow.gating.scored_metrics import ScoredMetric, ScoredRun, not_scored
from phi3flow.records.comparisons import Comparison, Sides, StoppedEarly
from phi3flow.records.gates import GateRecord, GateResult, RuleResult
from phi3flow.runs.folder import RunFolder


def gate_run(
    run: RunFolder, *, rules: Sequence[Rule], baseline: RunFolder | None = None, pair_by: str | None = None
) -> GateResult:
    """Decide every rule about ``run``.

    The metrics of the rules against ``baseline`` are the comparison's confirmatory ones. Lines are paired as
    ``compare_runs`` does, by line_id or by the data column ``pair_by``.

    Raises ConfigError where the run has lines that were not run or not scored, a metric is unknown, the baseline is
    missing, lacks it or was measured by another ruler, or no rule needs the baseline. Of a run that a test ended early
    only the metric and the baseline that ended it can be judged, by the interval that allows for it; where the test
    came to no end, all lines ran and other rules are decided as ever.
    """
    scored, early = ScoredRun(run), run.manifest.stopped_early
    stopped = early is not None and early.verdict != "undecided"
    if not stopped:
        refuse_unfinished(scored)
    metrics = {rule: scored.resolve(rule) for rule in rules if isinstance(rule, MetricRule)}
    if early and stopped:
        refuse_undecided_early(scored, early, metrics, baseline)
    refuse_outdated(scored, dict.fromkeys(metric.evaluation for metric in metrics.values()))
    comparison = _compare(scored, baseline, metrics, pair_by)
    of_metrics = {rule: _check_metric(rule, metric, comparison, early) for rule, metric in metrics.items()}
    results = [
        of_metrics[rule] if isinstance(rule, MetricRule) else _check_count(rule, scored, metrics, of_metrics.values())
        for rule in rules
    ]
    return GateResult(
        run=run.name,
        baseline=baseline.name if baseline else None,
        outcome=combine([result.outcome for result in results]),
        rules=results,
        n_paired=comparison.n_paired if comparison else None,
        unmatched=comparison.unmatched if comparison else None,
        failures=Sides(
            baseline=len(ScoredRun(baseline).failed_in_run()) if baseline else 0, candidate=len(scored.failed_in_run())
        ),
    )


def record_gate(result: GateResult, run: RunFolder) -> GateRecord:
    """Return what is left with the run of a gate's ``result``."""
    manifest = run.manifest
    named = {rule.metric for rule in result.rules}
    estimates = ((evaluation, run.metrics(evaluation).metrics) for evaluation in run.evaluations())
    return GateRecord(
        run=result.run,
        baseline=result.baseline,
        rules=[rule.rule for rule in result.rules],
        outcomes=[rule.outcome for rule in result.rules],
        passed=result.outcome == "passed",
        flow_fingerprint=manifest.flow_fingerprint,
        variant=manifest.variant,
        connections=manifest.connections,
        data_sha256=manifest.data_sha256,
        metrics={
            f"{evaluation}.{name}": estimate
            for evaluation, metrics in estimates
            for name, estimate in metrics.items()
            if f"{evaluation}.{name}" in named
        },
    )


def _compare(
    run: ScoredRun, baseline: RunFolder | None, metrics: Mapping[MetricRule, ScoredMetric], pair_by: str | None
) -> Comparison | None:
    if baseline is None:
        return None
    against = [(rule, metric) for rule, metric in metrics.items() if not isinstance(rule, Threshold)]
    refuse_baseline(run, baseline, against)
    confirmatory = [metric.full_name for _, metric in against]
    return compare_runs(baseline, run.folder, metrics=confirmatory, pair_by=pair_by)


def _check_metric(
    rule: MetricRule, metric: ScoredMetric, comparison: Comparison | None, early: StoppedEarly | None
) -> RuleResult:
    if isinstance(rule, Threshold):
        return check_threshold(rule, metric)
    if comparison is None:
        raise ConfigError(f"--rule {rule.text!r} needs a baseline: --baseline RUN")
    compared = comparison.metrics[metric.full_name]
    watched = early if early and (early.metric, early.baseline) == (metric.full_name, comparison.baseline) else None
    return check_comparison(rule, Evidence.of_comparison(metric, compared, early=watched), compared)


def _check_count(
    rule: LineCount | FailedShare,
    run: ScoredRun,
    metrics: Mapping[MetricRule, ScoredMetric],
    results: Iterable[RuleResult],
) -> RuleResult:
    if isinstance(rule, FailedShare):
        failed = [run.failed_in_scoring(metric.evaluation, metric.name) for metric in metrics.values()]
        failed = failed or [run.failed_in_scoring(evaluation) for evaluation in run.evaluations]
        return check_failed_share(rule, in_run=run.failed_in_run(), in_scoring=set().union(*failed), total=run.lines)
    if not run.evaluations:
        raise not_scored(rule, run.folder, "answer_match")
    lines = [(_answered_lines(result), result.metric or "") for result in results]
    return check_line_count(rule, *min(lines or [(run.scored_lines(name), name) for name in run.evaluations]))


def _answered_lines(result: RuleResult) -> int:
    """Return how many lines a rule rests on of which an answer was scored."""
    return result.answered_only.n if result.answered_only else result.n
