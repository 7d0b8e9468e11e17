"""Rules held to what was measured: each becomes a result with its numbers and its sentence."""

from __future__ import annotations

from typing import Any

from phi3flow.gating.decisions import Decision, decide_rule
from phi3flow.gating.evidence import Evidence
from phi3flow.gating.plans import Plan, detectable_difference, plan_comparison, plan_threshold
from phi3flow.gating.rules import COMPARATORS, Better, FailedShare, LineCount, MetricRule, NoWorse, Threshold
from phi3flow.gating.scored_metrics import ScoredMetric
from phi3flow.gating.sentences import describe_failed_share, describe_line_count, describe_rule
from phi3flow.records.comparisons import MetricComparison
from phi3flow.records.gates import AnsweredOutcome, RuleResult
from phi3flow.records.scores import ScoreRange


def check_threshold(rule: Threshold, metric: ScoredMetric) -> RuleResult:
    """Decide ``metric >= 0.6`` by the bound of the metric's interval."""
    evidence = Evidence.of_run(metric)
    decision = decide_rule(rule, evidence)
    plan = (
        plan_threshold(rule, metric.estimate, score_range=metric.score_range)
        if _lacks_lines(evidence, decision)
        else None
    )
    sentence = describe_rule(rule, evidence, decision, plan=plan)
    return _result(rule, evidence, decision, plan=plan, threshold=rule.threshold, sentence=sentence)


def check_comparison(
    rule: NoWorse | Better, evidence: Evidence, compared: MetricComparison, *, score_range: ScoreRange | None
) -> RuleResult:
    """Decide ``no worse than baseline by`` and ``better than baseline by`` by the paired difference.

    Where lower is better, the difference is mirrored for the decision; what is returned is candidate minus baseline.
    """
    decision = decide_rule(rule, evidence)
    plan = plan_comparison(rule, compared, score_range=score_range) if _lacks_lines(evidence, decision) else None
    detectable = detectable_difference(compared, score_range=score_range)
    sentence = describe_rule(rule, evidence, decision, plan=plan, detectable=detectable)
    return _result(rule, evidence, decision, plan=plan, margin=rule.margin, sentence=sentence)


def check_line_count(rule: LineCount, lines: int, name: str, *, has_failed: bool = False) -> RuleResult:
    """Decide ``lines >= 200`` by the ``lines`` that ``name`` rests on: a count, never undecided."""
    met = COMPARATORS[rule.comparator](lines, rule.threshold)
    return RuleResult(
        rule=rule.text,
        outcome="passed" if met else "failed",
        value=lines,
        n=lines,
        threshold=rule.threshold,
        sentence=describe_line_count(rule, lines, name, has_failed=has_failed),
    )


def check_failed_share(rule: FailedShare, *, in_run: set[int], in_scoring: set[int], total: int) -> RuleResult:
    """Decide ``failed <= 2%``: the share of lines itself, which is no estimate, so never undecided."""
    failed = len(in_run | in_scoring)
    share = failed / total if total else 0.0
    return RuleResult(
        rule=rule.text,
        outcome="passed" if COMPARATORS[rule.comparator](share, rule.threshold) else "failed",
        value=share,
        n=total,
        threshold=rule.threshold,
        sentence=describe_failed_share(
            rule, failed=failed, in_run=len(in_run), in_scoring=len(in_scoring), total=total
        ),
    )


def _lacks_lines(evidence: Evidence, decision: Decision) -> bool:
    """Return whether more lines would decide: not where the lines that failed do."""
    return decision.reading == "undecided" and not (decision.readings_disagree or evidence.obstacle)


def _result(
    rule: MetricRule, evidence: Evidence, decision: Decision, *, plan: Plan | None, **fields: Any
) -> RuleResult:
    reading, second = evidence.reading, evidence.answered_only
    answered_only = None
    if second and decision.answered_only:
        answered_only = AnsweredOutcome(
            outcome=decision.answered_only, value=second.mean, low=second.low, high=second.high, n=second.n
        )
    return RuleResult(
        rule=rule.text,
        outcome=decision.outcome,
        metric=evidence.metric,
        value=reading.mean,
        low=reading.low,
        high=reading.high,
        n=reading.n,
        lines_needed=plan.lines if plan else None,
        failed=evidence.failed,
        unscored=evidence.unscored,
        answered_only=answered_only,
        **fields,
    )
