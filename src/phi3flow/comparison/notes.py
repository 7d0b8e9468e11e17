"""What is to be known of two runs beside their metrics: failures that another try may mend, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from phi3flow.comparison.pairing import Pairs
from phi3flow.comparison.rulers import Mismatch
from phi3flow.comparison.scored_runs import ScoredRun, ScoredRuns
from phi3flow.pacing.failures import is_endpoint_failure
from phi3flow.records.comparisons import Sides
from phi3flow.records.lines import LineError
from phi3flow.text import plural, shorten


def count_failed(runs: ScoredRuns, pairs: Pairs) -> Sides:
    """Return how many of the paired lines failed in either run."""
    return Sides(
        baseline=sum(number in runs.baseline.failed for number in pairs.baseline),
        candidate=sum(number in runs.candidate.failed for number in pairs.candidate),
    )


def describe_notes(evaluations: Sequence[ScoredRuns], pairs: Pairs, unlike: Sequence[Mismatch]) -> list[str]:
    """Return a sentence for all that the metrics do not show."""
    runs = evaluations[0]
    notes = [*_measured_otherwise(runs, pairs), *_endpoint_failures(runs.baseline), *_endpoint_failures(runs.candidate)]
    for runs in evaluations:
        notes += _judge_failures(runs.baseline, pairs.baseline)
        notes += _judge_failures(runs.candidate, pairs.candidate)
        notes += [*_aggregation_failure(runs.baseline), *_aggregation_failure(runs.candidate)]
    return notes + [f"{mismatch.name} is left out. {mismatch.problem}" for mismatch in unlike]


def describe_endpoint_failures(run: str, errors: Iterable[LineError]) -> str | None:
    """Return how many of a run's lines the endpoint failed, with the command that tries them again."""
    caused = [error for error in errors if is_endpoint_failure(error)]
    if not caused:
        return None
    return (
        f"{plural(len(caused), 'line')} of {run} failed by the endpoint ({_reasons(caused)}): give its "
        f"batch-run command again, which tries them again, then score it (phi3flow runs show {run})"
    )


def _measured_otherwise(runs: ScoredRuns, pairs: Pairs) -> Iterator[str]:
    if pairs.measured_otherwise:
        names, columns = (runs.baseline.name, runs.candidate.name), " and ".join(pairs.columns)
        yield (
            f"{plural(pairs.measured_otherwise, 'line')} of both runs left out: the data of {names[0]} and {names[1]} "
            f"differ there in {columns}, by which answers are scored"
        )


def _endpoint_failures(run: ScoredRun) -> Iterator[str]:
    if note := describe_endpoint_failures(run.name, run.failures.values()):
        yield note


def _judge_failures(run: ScoredRun, numbers: Sequence[int]) -> Iterator[str]:
    lines = [line for number in numbers if (line := run.scores.get(number)) and line.answered and line.failures]
    if lines:
        yield (
            f"{plural(len(lines), 'line')} of {run.name} without a score of {run.measured.folder} "
            f"({shorten(next(iter(lines[0].failures.values())))}): {run.measured.score_again()}"
        )


def _aggregation_failure(run: ScoredRun) -> Iterator[str]:
    if error := run.metrics.aggregation_error:
        yield f"the aggregation of {run.measured.folder} failed on {run.name}: {error.type}: {error.message}"


def _reasons(errors: Sequence[LineError]) -> str:
    """Return "503: 12, TimeoutError: 1", the most frequent first."""
    reasons = Counter(str(error.status_code or error.type) for error in errors)
    return ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common(3))
