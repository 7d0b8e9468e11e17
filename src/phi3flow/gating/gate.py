"""Decide a gate's rules about a scored run, and where they say so against a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.gating.checks import check_comparison, check_failed_share, check_line_count, check_threshold
from phi3flow.gating.decisions import combine
from phi3flow.gating.evidence import Evidence
from phi3flow.gating.refusals import match_metrics, refuse_outdated, refuse_undecided_early, refuse_unfinished
from phi3flow.gating.rules import Better, FailedShare, LineCount, MetricRule, NoWorse, Rule, Threshold
from phi3flow.gating.scored_metrics import GatedRun, ScoredMetric, not_scored
from phi3flow.records.comparisons import Comparison, Sides
from phi3flow.records.gates import AnsweredOutcome, GateRecord, GateResult, RuleResult
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
    scored, early = GatedRun(run), run.manifest.stopped_early
    stopped = early is not None and early.verdict != "undecided"
    if not stopped:
        refuse_unfinished(scored)
    metrics = {rule: scored.resolve(rule) for rule in rules if isinstance(rule, MetricRule)}
    if early and stopped:
        refuse_undecided_early(scored, early, metrics, baseline)
    refuse_outdated(scored, dict.fromkeys(metric.evaluation for metric in metrics.values()))
    compared = _compare(scored, baseline, metrics, pair_by)
    of_metrics = {rule: _check_metric(rule, metric, compared) for rule, metric in metrics.items()}
    results = [
        of_metrics[rule] if isinstance(rule, MetricRule) else _check_count(rule, scored, metrics, of_metrics.values())
        for rule in rules
    ]
    return GateResult(
        run=run.name,
        baseline=baseline.name if baseline else None,
        outcome=combine([result.outcome for result in results]),
        rules=results,
        failures=Sides(baseline=len(compared.baseline.failures) if compared else 0, candidate=len(scored.failures)),
        notes=[
            note for side in (compared and compared.baseline, scored) if side and (note := side.endpoint_failures())
        ],
        **(_pairing(compared.comparison) if compared else {}),
    )


def _pairing(comparison: Comparison) -> dict[str, Any]:
    """Return what a gate's result says of the lines that were compared."""
    return {
        "n_paired": comparison.n_paired,
        "unmatched": comparison.unmatched,
        "measured_otherwise": comparison.measured_otherwise,
        "failures_paired": comparison.failed,
    }


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


@dataclass(frozen=True)
class _Compared:
    """The run's comparison with its baseline; ``names`` has the comparison's name of each of the run's metrics."""

    run: GatedRun
    baseline: GatedRun
    comparison: Comparison
    names: Mapping[str, str]

    def check(self, rule: NoWorse | Better, metric: ScoredMetric) -> RuleResult:
        compared, score_range = self.comparison.metrics[self.names[metric.full_name]], metric.score_range
        evidence = Evidence.of_comparison(metric.full_name, compared, score_range=score_range)
        return check_comparison(rule, evidence, compared, score_range=score_range)


def _compare(
    run: GatedRun, baseline: RunFolder | None, metrics: Mapping[MetricRule, ScoredMetric], pair_by: str | None
) -> _Compared | None:
    if baseline is None:
        return None
    against = [(rule, metric) for rule, metric in metrics.items() if not isinstance(rule, Threshold)]
    names = match_metrics(run, baseline, against)
    comparison = compare_runs(baseline, run.folder, metrics=list(names.values()), pair_by=pair_by)
    return _Compared(run, GatedRun(baseline), comparison, names)


def _check_metric(rule: MetricRule, metric: ScoredMetric, compared: _Compared | None) -> RuleResult:
    if isinstance(rule, Threshold):
        return check_threshold(rule, metric)
    if compared is None:
        raise ConfigError(f"--rule {rule.text!r} needs a baseline: --baseline RUN")
    return compared.check(rule, metric)


def _check_count(
    rule: LineCount | FailedShare,
    run: GatedRun,
    metrics: Mapping[MetricRule, ScoredMetric],
    results: Iterable[RuleResult],
) -> RuleResult:
    if isinstance(rule, FailedShare):
        failed = [run.failed_in_scoring(metric.evaluation, metric.name) for metric in metrics.values()]
        failed = failed or [run.failed_in_scoring(evaluation) for evaluation in run.evaluations]
        return check_failed_share(rule, in_run=set(run.failures), in_scoring=set().union(*failed), total=run.lines)
    if not run.evaluations:
        raise not_scored(rule, run.folder, "answer_match")
    lines = [(result.answered_only or result, result.metric or "") for result in results]
    if not lines:
        return check_line_count(rule, *min((run.scored_lines(name), name) for name in run.evaluations))
    fewest, name = min(lines, key=lambda counted: (counted[0].n, counted[1]))
    return check_line_count(rule, fewest.n, name, has_failed=isinstance(fewest, AnsweredOutcome))
