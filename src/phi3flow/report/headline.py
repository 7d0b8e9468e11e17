"""The sentence at the top of the report: what the numbers show, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phi3flow.comparison.conclusions import describe_failures, describe_unscored
from phi3flow.comparison.confirmatory import default_metric
from phi3flow.records.comparisons import SEQUENTIAL, Comparison, Difference, MetricComparison, Verdict
from phi3flow.records.scores import AGGREGATION, Estimate
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.wording import metric_name, number, signed
from phi3flow.text import confidence, plural, shorten

_RELATIONS: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided",
}


@dataclass(frozen=True)
class Headline:
    """One sentence in two parts: the ``claim`` and its ``evidence``; ``tone`` picks the sign beside it."""

    claim: str
    evidence: str
    tone: str

    def __str__(self) -> str:
        return f"{self.claim}{self.evidence}"


def comparison_headline(comparison: Comparison, *, baseline: RunView, candidate: RunView) -> Headline:
    """Return what a comparison shows of its confirmatory metrics: its verdicts, and why one is undecided."""
    for run in (candidate, baseline):
        if not run.is_answered:
            return _all_failed(run)
    names = confirmatory(comparison)
    if not names:
        claim = f"{comparison.candidate} and {comparison.baseline} cannot be compared"
        lacking = "no line has a score in both runs" if comparison.metrics else "they share no metric"
        return Headline(claim, f": {lacking}.", "none")
    runs = (baseline, candidate)
    evidence = ["; ".join(_evidence(comparison, name, scale_of(name, runs).digits)) for name in names]
    if len(names) > 1:
        evidence = [f"{metric_name(name)}: {text}" for name, text in zip(names, evidence, strict=True)]
    verdicts = {name: comparison.metrics[name].verdict for name in names}
    return Headline(_claim(comparison, verdicts), f": {'. '.join(evidence)}.", _tone(set(verdicts.values())))


def run_headline(run: RunView) -> Headline:
    """Return what one run's scores say, or why they say nothing."""
    if not run.results:
        return Headline(f"{run.name} has no line", f": the run is {run.manifest.status}.", "none")
    if not run.is_answered:
        return _all_failed(run)
    if not run.evaluations:
        return Headline(
            f"{run.name} is not scored", f": {_completed(run)}; phi3flow score {run.name} scores it.", "none"
        )
    name = leading_metric([name for name, estimate in run.estimates.items() if estimate.mean is not None])
    if name is None:
        return Headline(
            f"{run.name} is scored, but has no figure", f": {_completed(run)}; {_without_figure(run)}.", "none"
        )
    digits = scale_of(name, [run]).digits
    return Headline(
        f"{run.name}: {metric_name(name)} {number(run.estimates[name].mean, digits)}",
        f"{'; '.join(_run_evidence(run, name, digits))}.",
        "none",
    )


def unscored_headline(runs: Sequence[RunView]) -> Headline:
    """Return why several runs are not compared, so that only their answers can be."""
    without = [run.name for run in runs if not run.evaluations]
    if without:
        verb = "is" if len(without) == 1 else "are"
        return Headline(
            f"{' and '.join(without)} {verb} not scored",
            f": only the answers can be compared; phi3flow score {without[0]}.",
            "none",
        )
    if all(runs[0].results.keys().isdisjoint(run.results) for run in runs[1:]):
        return Headline("These runs cannot be compared", ": they share no line.", "none")
    return Headline(
        "These runs were not scored by the same evaluation", ": only their answers can be compared.", "none"
    )


def confirmatory(comparison: Comparison) -> list[str]:
    """Return the metrics that the comparison was made for."""
    return [name for name, metric in comparison.metrics.items() if metric.confirmatory]


def leading_metric(names: Sequence[str]) -> str | None:
    """Return the metric to show first: value_accuracy, else f1, else the first there is."""
    return default_metric(names) or next(iter(names), None)


def _claim(comparison: Comparison, verdicts: dict[str, Verdict]) -> str:
    """Return each verdict with its metrics, the decided ones first."""
    candidate, baseline = comparison.candidate, comparison.baseline
    if set(verdicts.values()) == {"undecided"}:
        return f"Undecided whether {candidate} or {baseline} is better on {_names(verdicts)}"
    claims = list[str]()
    for verdict, relation in _RELATIONS.items():
        names = [_within(name, comparison) for name, other in verdicts.items() if other == verdict]
        if names and not claims:
            claims.append(f"{candidate} is {relation} {baseline} on {' and '.join(names)}")
        elif names:
            claims.append(f"{verdict} on {' and '.join(names)}")
    return ", ".join(claims)


def _within(name: str, comparison: Comparison) -> str:
    """Return the metric's name, with the margin of its equivalence."""
    metric = comparison.metrics[name]
    return f"{metric_name(name)} within {metric.margin:g}" if metric.verdict == "equivalent" else metric_name(name)


def _evidence(comparison: Comparison, name: str, digits: int) -> Iterator[str]:
    metric, runs = comparison.metrics[name], {"baseline": comparison.baseline, "candidate": comparison.candidate}
    if metric.difference.mean is not None:
        yield _difference(metric, digits)
    if metric.lower_is_better:
        yield "lower is better"
    if failures := describe_failures(metric.failed, **runs):
        yield failures
    elif failures := describe_failures(comparison.failed, **runs):
        yield f"{failures}, none to which it applies"
    if unscored := describe_unscored(metric.unscored, **runs):
        yield unscored
    if metric.reason:
        yield metric.reason


def _difference(metric: MetricComparison, digits: int) -> str:
    means = f"{number(metric.candidate, digits)} against {number(metric.baseline, digits)}, "
    over = f" over {plural(metric.n, 'paired line')}" if metric.n else ""
    label = f"{'sequential ' if metric.method == SEQUENTIAL else ''}{confidence(metric.level)} interval"
    bounds = _bounds(metric.difference, digits, label=label, write=signed)
    difference = f"a difference of {signed(metric.difference.mean, digits)}{bounds}{over}"
    return difference if metric.baseline is None else f"{means}{difference}"


def _run_evidence(run: RunView, name: str, digits: int) -> Iterator[str]:
    estimate = run.estimates[name]
    n_failed = estimate.n_failed - estimate.n_unscored
    yield f"{_bounds(estimate, digits)} over {plural(estimate.n, 'line')}"
    if name in run.lower_is_better:
        yield "lower is better"
    if n_failed:
        yield f"{plural(n_failed, 'line')} failed{_reading(run, name)}"
    elif run.failed:
        yield f"{plural(run.failed, 'line')} failed, none to which it applies"
    if estimate.n_unscored:
        yield f"{plural(estimate.n_unscored, 'answer')} could not be scored"
    if estimate.method == AGGREGATION:
        yield "only the whole run has it, not its lines: there is no interval"
    if estimate.note:
        yield estimate.note


def _reading(run: RunView, name: str) -> str:
    """Return how the failed lines count in a metric, as far as its scores say it."""
    if run.estimates[name].note or not run.states_reading:
        return ""
    is_counted = run.metrics[name.rpartition(".")[0]].failed_lines == "least"
    return ", counted as the worst score" if is_counted else ", left out"


def _without_figure(run: RunView) -> str:
    """Return why no metric of a scored run has a value."""
    for evaluation, metrics in run.metrics.items():
        if error := metrics.aggregation_error:
            return f"the aggregation of {evaluation} failed: {error.type}: {shorten(error.message.rstrip('.'), 160)}"
    if run.score_errors:
        first = next(iter(run.score_errors.values()))[0]
        return f"{plural(len(run.score_errors), 'answer')} could not be scored: {shorten(first.rstrip('.'), 160)}"
    if run.estimates:
        return f"{_names(run.estimates)} {'applies' if len(run.estimates) == 1 else 'apply'} to none of its lines"
    return f"{' and '.join(run.evaluations)} gave no number"


def _names(names: Iterable[str]) -> str:
    return " and ".join(metric_name(name) for name in names)


def _tone(verdicts: set[Verdict]) -> str:
    if {"better", "worse"} <= verdicts:
        return "mixed"
    return next(verdict for verdict in _RELATIONS if verdict in verdicts)


def _bounds(
    of: Estimate | Difference,
    digits: int,
    *,
    label: str = "95 % interval",
    write: Callable[[float | None, int], str] = number,
) -> str:
    if of.low is None or of.high is None:
        return ""
    return f" ({label} {write(of.low, digits)} to {write(of.high, digits)})"


def _completed(run: RunView) -> str:
    return f"{run.completed:,} of {plural(run.total, 'line')} completed"


def _all_failed(run: RunView) -> Headline:
    failure = run.failures[0] if run.failures else None
    reason = f": {failure.type}: {shorten(failure.message.rstrip('.'), 160)}" if failure else ""
    return Headline(f"Every line of {run.name} failed", reason if reason.endswith("…") else f"{reason}.", "failed")
