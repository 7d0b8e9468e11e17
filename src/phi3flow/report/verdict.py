"""The sentence at the top of the report: what the numbers show, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from phi3flow.comparison.compare import DEFAULT_CONFIRMATORY
from phi3flow.comparison.conclusions import judge
from phi3flow.records.comparisons import Comparison, Difference, MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.wording import metric_name, number, plural, signed
from phi3flow.text import shorten

_SIGNS = {"better": 1, "worse": -1}


@dataclass(frozen=True)
class Verdict:
    """One sentence in two parts: the ``claim`` and its ``evidence``; ``tone`` picks the sign beside it."""

    claim: str
    evidence: str
    tone: str

    def __str__(self) -> str:
        return f"{self.claim}{self.evidence}"


def compare_verdict(comparison: Comparison, *, baseline: RunView, candidate: RunView) -> Verdict:
    """Return what a comparison shows on its confirmatory metrics, by the rule of ``compare``."""
    if not candidate.completed:
        return _all_failed(candidate)
    names = confirmatory(comparison)
    if not names:
        return Verdict(
            f"{comparison.candidate} and {comparison.baseline} cannot be compared",
            ": they share no scored line.",
            "none",
        )
    signs = {name: _shown(comparison.metrics[name]) for name in names}
    runs = (baseline, candidate)
    evidence = [_evidence(comparison.metrics[name], scale_of(name, runs).digits) for name in names]
    if len(names) > 1:
        evidence = [f"{metric_name(name)} {text}" for name, text in zip(names, evidence, strict=True)]
    return Verdict(_claim(comparison, signs), f": {'; '.join(evidence)}.", _tone(list(signs.values())))


def single_verdict(run: RunView) -> Verdict:
    """Return what one run's scores say, or why they say nothing."""
    if not run.results:
        return Verdict(f"{run.name} has no line", f": the run is {run.manifest.status}.", "none")
    if not run.completed:
        return _all_failed(run)
    name = headline(list(run.estimates))
    estimate = run.estimates.get(name) if name else None
    if name is None or estimate is None or estimate.mean is None:
        return Verdict(
            f"{run.name} is not scored", f": {_completed(run)}; phi3flow score {run.name} scores it.", "none"
        )
    digits = scale_of(name, [run]).digits
    return Verdict(
        f"{run.name}: {metric_name(name)} {number(estimate.mean, digits)}",
        f"{_bounds(estimate, digits)} over {plural(estimate.n, 'scored line')}{_failed(run)}.",
        "none",
    )


def unscored_verdict(runs: Sequence[RunView]) -> Verdict:
    """Return that several runs have no evaluation in common, so that only their answers can be compared."""
    without = [run.name for run in runs if not run.evaluations]
    if not without:
        return Verdict(
            "These runs were not scored by the same evaluation", ": only their answers can be compared.", "none"
        )
    names = " and ".join(without)
    verb = "is" if len(without) == 1 else "are"
    return Verdict(
        f"{names} {verb} not scored", f": only the answers can be compared; phi3flow score {without[0]}.", "none"
    )


def confirmatory(comparison: Comparison) -> list[str]:
    """Return the metrics that the comparison was made for; where it names none, the headline alone."""
    usable = {name: metric for name, metric in comparison.metrics.items() if metric.difference.mean is not None}
    named = [name for name, metric in usable.items() if metric.p_holm is not None]
    first = headline(list(usable))
    return named or ([first] if first else [])


def headline(names: Sequence[str]) -> str | None:
    """Return the metric to show first: value_accuracy, else f1, else the first there is."""
    for short in DEFAULT_CONFIRMATORY:
        found = next((name for name in names if name.rpartition(".")[2] == short), None)
        if found:
            return found
    return names[0] if names else None


def _shown(metric: MetricComparison) -> int:
    """Return 1 or -1 where the candidate is shown to be better or worse, 0 where neither."""
    return _SIGNS.get(judge(metric), 0)


def _claim(comparison: Comparison, signs: dict[str, int]) -> str:
    candidate, baseline = comparison.candidate, comparison.baseline
    better, worse = ([name for name, sign in signs.items() if sign == wanted] for wanted in (1, -1))
    if better and worse:
        return f"{candidate} is better than {baseline} on {_names(better)}, worse on {_names(worse)}"
    if better or worse:
        return f"{candidate} is {'better' if better else 'worse'} than {baseline} on {_names(better or worse)}"
    if all(judge(comparison.metrics[name]) == "no difference" for name in signs):
        return f"{candidate} and {baseline} have the same {_names(signs)} on every line"
    return f"No difference in {_names(signs)} is shown between {candidate} and {baseline}"


def _evidence(metric: MetricComparison, digits: int) -> str:
    text = (
        f"{number(metric.candidate, digits)} against {number(metric.baseline, digits)}, "
        f"a difference of {signed(metric.difference.mean, digits)}{_bounds(metric.difference, digits, write=signed)} "
        f"over {plural(metric.n, 'paired line')}"
    )
    if metric.lower_is_better:
        text += "; lower is better"
    if _shown(metric) == 0 and metric.lines_needed and metric.lines_needed > metric.n:
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


def _all_failed(run: RunView) -> Verdict:
    failure = run.failures[0] if run.failures else None
    reason = f": {failure.type}: {shorten(failure.message.rstrip('.'), 160)}" if failure else ""
    return Verdict(f"Every line of {run.name} failed", reason if reason.endswith("…") else f"{reason}.", "failed")
