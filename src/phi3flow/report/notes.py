"""What is to be known of a run beside its figures: that it ended early, changed, what failed, what was left out."""

from __future__ import annotations

from collections.abc import Iterator

from phi3flow.comparison.conclusions import describe_failures
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.report.run_view import RunView, scale_of
from phi3flow.report.wording import absent_lines, metric_name, number, p_value, signed
from phi3flow.stats import ALPHA
from phi3flow.text import confidence, plural, shorten


def run_notes(run: RunView, *, compared_with: str | None = None) -> Iterator[str]:
    """Yield what is to be known of a run, to be read after its name and a colon.

    ``compared_with`` is the run that a comparison of the same page has it against: what the comparison says is not
    said again.
    """
    if run.data_note:
        yield f"ground truth and required values are not shown. {run.data_note}."
    if run.manifest.stopped_early:
        yield _describe_test(run, run.manifest.stopped_early, compared_with)
    if changes := run.manifest.flow_changes:
        yield f"the flow changed while it ran: {shorten(', '.join(changes), 300)}; its answers may be of either."
    yield from (f"{reason}." for reason in run.score_again.values())
    for evaluation, metrics in run.metrics.items():
        yield from (f"{evaluation}: {sentence}." for sentence in absent_lines(metrics.absent))
    if compared_with:
        return
    if run.endpoint_failed:
        yield (
            f"{plural(run.endpoint_failed, 'line')} failed by the endpoint: give its batch-run command again, which "
            f"tries them again, then score it (phi3flow runs show {run.name})."
        )
    for evaluation, metrics in run.metrics.items():
        if error := metrics.aggregation_error:
            yield f"the aggregation of {evaluation} failed: {error.type}: {error.message.rstrip('.')}."


def _describe_test(run: RunView, test: StoppedEarly, compared_with: str | None) -> str:
    """Return what the test that watched a run found, without its figures where the comparison has them."""
    attempted = run.completed + run.failed
    if test.verdict == "undecided":
        ending = f"it was tested while it ran, and {plural(test.n, 'line')} gave no verdict: undecided on"
    else:
        ending = f"it ended early, after {attempted:,} of {plural(run.total, 'line')}: {test.verdict} on"
    sentences = [f"{ending} {metric_name(test.metric)} against {test.baseline}"]
    if test.baseline != compared_with:
        sentences[0] += f", by its test while it ran: {_figures(run, test)}"
        if test.verdict != "undecided":
            sentences.append("The size of the difference is biased upward: the run stopped because it was large")
    return ". ".join(sentences) + "."


def _figures(run: RunView, test: StoppedEarly) -> str:
    digits, difference = scale_of(test.metric, [run]).digits, test.difference
    means = ""
    if test.baseline_mean is not None:
        means = f"{number(test.candidate_mean, digits)} against {number(test.baseline_mean, digits)}, "
    text = f"{means}a difference of {signed(difference.mean, digits)}"
    if difference.low is not None and difference.high is not None:
        bounds = f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"
        text += f" (sequential {confidence(test.level)} interval {bounds})"
    text += f" over {plural(test.n, 'paired line')}, p {p_value(test.p)}"
    if test.level < ALPHA:
        text += ", at a level that the candidates of its command share"
    if test.baseline_mean is not None:
        text += f"; {test.wins:,} better, {test.losses:,} worse, {test.ties:,} alike"
    if test.metric in run.lower_is_better:
        text += "; lower is better"
    failures = describe_failures(test.failed, baseline=test.baseline, candidate=run.name)
    return f"{text}; {failures}" if failures else text
