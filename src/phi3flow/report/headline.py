"""The sentence at the top of the report: what the numbers show, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from phi3flow.comparison.confirmatory import default_metric
from phi3flow.records.comparisons import Comparison, Difference, MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.wording import metric_name, number, signed
from phi3flow.text import plural, shorten

_SIGNS = {"better": 1, "worse": -1}


@dataclass(frozen=True)
class Headline:
    """One sentence in two parts: the ``claim`` and its ``evidence``; ``tone`` picks the sign beside it."""

    claim: str
    evidence: str
    tone: str

    def __str__(self) -> str:
        return f"{self.claim}{self.evidence}"


def comparison_headline(comparison: Comparison, *, baseline: RunView, candidate: RunView) -> Headline:
    """Return what a comparison shows on its confirmatory metrics, by the rule of ``compare``."""
    if not candidate.completed:
        return _all_failed(candidate)
    names = confirmatory(comparison)
    if not names:
        claim = f"{comparison.candidate} and {comparison.baseline} cannot be compared"
        return Headline(claim, ": they share no scored line.", "none")
    signs = {name: _sign(comparison.metrics[name]) for name in names}
    runs = (baseline, candidate)
    evidence = [_evidence(comparison.metrics[name], scale_of(name, runs).digits) for name in names]
    if len(names) > 1:
        evidence = [f"{metric_name(name)} {text}" for name, text in zip(names, evidence, strict=True)]
    return Headline(_claim(comparison, signs), f": {'; '.join(evidence)}.", _tone(list(signs.values())))


def run_headline(run: RunView) -> Headline:
    """Return what one run's scores say, or why they say nothing."""
    if not run.results:
        return Headline(f"{run.name} has no line", f": the run is {run.manifest.status}.", "none")
    if not run.completed:
        return _all_failed(run)
    name = leading_metric(list(run.estimates))
    estimate = run.estimates.get(name) if name else None
    if name is None or estimate is None or estimate.mean is None:
        return Headline(
            f"{run.name} is not scored", f": {_completed(run)}; phi3flow score {run.name} scores it.", "none"
        )
    digits = scale_of(name, [run]).digits
    return Headline(
        f"{run.name}: {metric_name(name)} {number(estimate.mean, digits)}",
        f"{_bounds(estimate, digits)} over {plural(estimate.n, 'scored line')}{_failed(run)}.",
        "none",
    )


def unscored_headline(runs: Sequence[RunView]) -> Headline:
    """Return that several runs have no evaluation in common, so that only their answers can be compared."""
    without = [run.name for run in runs if not run.evaluations]
    if not without:
        return Headline(
            "These runs were not scored by the same evaluation", ": only their answers can be compared.", "none"
        )
    names = " and ".join(without)
    verb = "is" if len(without) == 1 else "are"
    return Headline(
        f"{names} {verb} not scored", f": only the answers can be compared; phi3flow score {without[0]}.", "none"
    )


def confirmatory(comparison: Comparison) -> list[str]:
    """Return the metrics that the comparison was made for; where it names none, the leading one alone."""
    usable = {name: metric for name, metric in comparison.metrics.items() if metric.difference.mean is not None}
    named = [name for name, metric in usable.items() if metric.p_holm is not None]
    first = leading_metric(list(usable))
    return named or ([first] if first else [])


def leading_metric(names: Sequence[str]) -> str | None:
    """Return the metric to show first: value_accuracy, else f1, else the first there is."""
    return default_metric(names) or next(iter(names), None)


def _sign(metric: MetricComparison) -> int:
    """Return 1 or -1 where the candidate is shown to be better or worse, 0 where neither."""
    return _SIGNS.get(metric.verdict, 0)


def _claim(comparison: Comparison, signs: dict[str, int]) -> str:
    candidate, baseline = comparison.candidate, comparison.baseline
    better = [name for name, sign in signs.items() if sign > 0]
    worse = [name for name, sign in signs.items() if sign < 0]
    if better and worse:
        return f"{candidate} is better than {baseline} on {_names(better)}, worse on {_names(worse)}"
    if better or worse:
        return f"{candidate} is {'better' if better else 'worse'} than {baseline} on {_names(better or worse)}"
    if all(comparison.metrics[name].verdict == "equivalent" for name in signs):
        return f"{candidate} and {baseline} are equivalent on {_names(signs)}"
    return f"Undecided whether {candidate} or {baseline} is better on {_names(signs)}"


def _evidence(metric: MetricComparison, digits: int) -> str:
    text = (
        f"{number(metric.candidate, digits)} against {number(metric.baseline, digits)}, "
        f"a difference of {signed(metric.difference.mean, digits)}{_bounds(metric.difference, digits, write=signed)} "
        f"over {plural(metric.n, 'paired line')}"
    )
    if metric.lower_is_better:
        text += "; lower is better"
    if _sign(metric) == 0 and metric.lines_needed and metric.lines_needed > metric.n:
        text += f"; about {metric.lines_needed:,} would be needed to show it"
    return text


def _names(names: Iterable[str]) -> str:
    return " and ".join(metric_name(name) for name in names)


def _tone(signs: list[int]) -> str:
    if any(signs) and min(signs) * max(signs) >= 0:
        return "better" if max(signs) > 0 else "worse"
    return "mixed" if any(signs) else "undecided"


def _bounds(of: Estimate | Difference, digits: int, *, write: Callable[[float | None, int], str] = number) -> str:
    if of.low is None or of.high is None:
        return ""
    return f" (95 % interval {write(of.low, digits)} to {write(of.high, digits)})"


def _completed(run: RunView) -> str:
    return f"{run.completed:,} of {plural(run.total, 'line')} completed"


def _failed(run: RunView) -> str:
    return f"; {plural(run.failed, 'line')} failed" if run.failed else ""


def _all_failed(run: RunView) -> Headline:
    failure = run.failures[0] if run.failures else None
    reason = f": {failure.type}: {shorten(failure.message.rstrip('.'), 160)}" if failure else ""
    return Headline(f"Every line of {run.name} failed", reason if reason.endswith("…") else f"{reason}.", "failed")
