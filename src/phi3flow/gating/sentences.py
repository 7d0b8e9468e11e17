"""What a gate tells people about a rule: a sentence on the outcome, on the lines that failed, on what would decide."""

from __future__ import annotations

from collections.abc import Iterator

from phi3flow.gating.decisions import Decision
from phi3flow.gating.evidence import Evidence, Reading
from phi3flow.gating.plans import Plan
from phi3flow.gating.rules import (
    COMPARATORS,
    Better,
    Comparator,
    FailedShare,
    LineCount,
    MetricRule,
    NoWorse,
    Threshold,
)
from phi3flow.records.comparisons import Sides
from phi3flow.records.gates import GateResult, Outcome
from phi3flow.records.scores import AGGREGATION
from phi3flow.stats import CORPUS_METRICS, MOST_ONE_SIDED
from phi3flow.text import confidence, plural


def describe_rule(
    rule: MetricRule, evidence: Evidence, decision: Decision, *, plan: Plan | None, detectable: float | None = None
) -> str:
    """Return what became of a rule about a metric, and why.

    ``plan`` has the lines that would decide it, ``detectable`` is the least difference that these lines show.
    """
    sentences = [_finding(rule, evidence, decision), *_failures(rule, evidence, decision)]
    if plan is not None:
        sentences.append(_planned(rule, plan))
    if decision.outcome == "undecided" and isinstance(rule, NoWorse | Better):
        sentences += _too_fine(rule, detectable)
    if evidence.note:
        sentences.append(evidence.note[:1].upper() + evidence.note[1:].rstrip(".") + ".")
    return " ".join(sentences)


def describe_line_count(rule: LineCount, lines: int, name: str, *, has_failed: bool) -> str:
    """Return whether the metric or evaluation ``name`` rests on enough lines; others failed where it ``has_failed``."""
    counted = plural(lines, "answered line" if has_failed else "line")
    return f"{name} rests on {counted}: {_relation(rule, lines)} {rule.threshold:,}."


def describe_failed_share(rule: FailedShare, *, failed: int, in_run: int, in_scoring: int, total: int) -> str:
    """Return how many lines failed where, and whether that is too many."""
    share = failed / total if total else 0.0
    where = f" In the run: {in_run:,}; in scoring: {in_scoring:,}." if failed else ""
    return (
        f"{failed:,} of {plural(total, 'line')} failed in the run or in scoring: {100 * share:.4g} % "
        f"(the share itself, without an interval), {_relation(rule, share)} {100 * rule.threshold:.4g} %.{where}"
    )


def describe_failed(result: GateResult) -> str | None:
    """Return which run had how many failed lines, and how many of them were compared; None where none has any."""
    failed, paired = result.failures, result.failures_paired
    if not _any(failed):
        return None
    against = f"{failed.baseline:,} in {result.baseline}, " if result.baseline else ""
    text = f"failed lines: {against}{failed.candidate:,} in {result.run}"
    if paired is not None and paired != failed:
        text += f" (of the lines paired {paired.baseline:,} and {paired.candidate:,})"
    return text


def _finding(rule: MetricRule, evidence: Evidence, decision: Decision) -> str:
    statement, reading = _statement(evidence), evidence.reading
    if reading.mean is None:
        both = " in both runs" if evidence.compares else ""
        return f"{evidence.metric}: undecided: no line has a score{both}."
    if reading.low is None or reading.high is None:
        return f"{statement}: undecided: it has no interval ({evidence.method}), and only a bound can pass."
    statement += f" ({_interval(evidence, reading)})"
    if evidence.obstacle:
        return f"{statement}: undecided: {evidence.obstacle}."
    if decision.chance is not None:
        return f"{statement}: undecided: {_miscounted(rule, decision.chance)}."
    if decision.readings_disagree:
        return f"{statement}: undecided: it depends on the lines that failed."
    return f"{statement}: {decision.outcome}: {_reason(rule, decision.outcome)}{_significance(rule, reading)}."


def _statement(evidence: Evidence) -> str:
    mean = evidence.reading.mean or 0.0
    verb = f"differs from the baseline by {mean:+.4f}" if evidence.compares else f"is {mean:.4f}"
    return f"{evidence.metric} {verb}" + (", where lower is better" if evidence.lower_is_better else "")


def _interval(evidence: Evidence, reading: Reading) -> str:
    sign = "+" if evidence.compares else ""
    level = f"{confidence(evidence.level)} interval"
    watched = " that allows for watching the run" if evidence.watched else ""
    return f"{level}{watched} {reading.low:{sign}.4f} to {reading.high:{sign}.4f}, {plural(reading.n, 'line')}"


def _significance(rule: MetricRule, reading: Reading) -> str:
    """Return the p that "better than baseline" is decided with, beside the interval."""
    if not isinstance(rule, Better) or rule.margin or reading.p is None:
        return ""
    return ", p < 0.0001" if reading.p < 0.0001 else f", p = {reading.p:.4f}"


def _reason(rule: MetricRule, outcome: Outcome) -> str:
    if isinstance(rule, Threshold):
        below, above = ("lower", "upper") if rule.comparator in (">=", ">") else ("upper", "lower")
        return {
            "passed": f"the {below} bound is {rule.comparator} {rule.threshold:g}",
            "failed": f"even the {above} bound is not {rule.comparator} {rule.threshold:g}",
            "undecided": f"the interval holds {rule.threshold:g}",
        }[outcome]
    by = f" by more than {rule.margin:g}" if rule.margin else ""
    if isinstance(rule, NoWorse):
        return {
            "passed": f"a loss of more than {rule.margin:g} is ruled out",
            "failed": f"the run is worse{by}",
            "undecided": f"a loss of more than {rule.margin:g} is neither shown nor ruled out",
        }[outcome]
    return {
        "passed": f"the run is better{by}",
        "failed": f"the run is not better{by}",
        "undecided": f"that the run is better{by} is neither shown nor ruled out",
    }[outcome]


def _miscounted(rule: MetricRule, chance: float) -> str:
    number = f"{rule.threshold:g}" if isinstance(rule, Threshold) else f"difference of {rule.margin:g}"
    return (
        f"the bound alone would decide, but counted exactly, a true {number} gets as far with a chance of "
        f"{100 * chance:.3g} %, above {100 * MOST_ONE_SIDED:g} %"
    )


def _failures(rule: MetricRule, evidence: Evidence, decision: Decision) -> list[str]:
    """Return what failed on either side, and what the rule comes to without it."""
    sentences = []
    if _any(evidence.failed) and evidence.method != AGGREGATION:  # whose note says what it saw
        counted = "" if evidence.obstacle else f"; {_counted_as(evidence)}"
        sentences.append(f"Failed in the run: {_sides(evidence, evidence.failed)}{counted}.")
    if evidence.answered_only and decision.answered_only and not evidence.obstacle:
        sentences.append(_second_reading(rule, evidence, evidence.answered_only, decision))
    if _any(evidence.unscored):
        sentences.append(
            f"Not scored: {_sides(evidence, evidence.unscored)}; the scoring failed and not the run, "
            "so that they count as nothing."
        )
    return sentences


def _any(sides: Sides) -> bool:
    return bool(sides.baseline or sides.candidate)


def _sides(evidence: Evidence, lines: Sides) -> str:
    if not evidence.compares:
        return plural(lines.candidate, "line")
    return f"{plural(lines.baseline, 'line')} of the baseline, {lines.candidate:,} of the run"


def _counted_as(evidence: Evidence) -> str:
    if evidence.failed_lines == "left out":
        return "left out, as the scores were made with --failed-lines left-out"
    corpus = evidence.metric.rpartition(".")[2] in CORPUS_METRICS
    return f"counted as {'an empty answer' if corpus else 'the worst score'}"


def _second_reading(rule: MetricRule, evidence: Evidence, reading: Reading, decision: Decision) -> str:
    lines = "the lines that both answered" if evidence.compares else "the answered lines"
    if reading.mean is None or reading.low is None or reading.high is None:
        return f"Over {lines} alone nothing can be said: {plural(reading.n, 'line')}."
    sign = "+" if evidence.compares else ""
    value = f"{reading.mean:{sign}.4f} ({_interval(evidence, reading)}{_significance(rule, reading)})"
    if decision.readings_disagree:
        return f"With them the rule is {decision.reading}; over {lines} alone it is {value}: {decision.answered_only}."
    return f"Over {lines} alone it is {value}: {decision.answered_only} as well."


def _planned(rule: MetricRule, plan: Plan) -> str:
    lines = f"about {plural(plan.lines, 'line')}"
    if plan.equal_runs:
        return f"Two equal runs take {lines} to pass with 80 % power."
    stays = "value" if isinstance(rule, Threshold) else "difference"
    return f"{lines.capitalize()} would decide with 80 % power, if the {stays} stays."


def _too_fine(rule: NoWorse | Better, detectable: float | None) -> Iterator[str]:
    if detectable is not None and 0 < rule.margin < detectable:
        least = f"{detectable:.4f}, the least difference that these lines show with 80 % power"
        yield f"The margin {rule.margin:g} is below {least}."


def _relation(rule: LineCount | FailedShare, value: float) -> str:
    comparator: Comparator = rule.comparator
    return comparator if COMPARATORS[comparator](value, rule.threshold) else f"not {comparator}"
