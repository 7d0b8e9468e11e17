"""Lines that ran several times, averaged within the line: with the executions that failed, and without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, variance

from phi3flow.records.scores import FailedLines, LineScore, RepeatVariances


def average_repeats(scores: Sequence[LineScore], lines: int, failed_lines: FailedLines = "least") -> list[LineScore]:
    """Return one score for each line of the data: the mean over its executions that have one.

    ``lines`` is the run's ``Manifest.lines``. ``scores`` are the mean over the executions that were answered,
    ``counted_as`` that with those that failed in the run; ``answered`` is a line whose executions all are. By the
    reading "left out" the counts of corpus metrics are without those of empty answers.
    """
    ordered = sorted(scores, key=lambda score: score.line_number)
    if failed_lines == "left out":
        ordered = [score if score.answered else score.model_copy(update={"counts": {}}) for score in ordered]
    if not ordered or ordered[-1].line_number < lines:
        return ordered
    executions: dict[int, list[LineScore]] = {}
    for score in ordered:
        executions.setdefault(score.line_number % lines, []).append(score)
    return [_averaged(number, executions[number]) for number in sorted(executions)]


def repeat_variances(scores: Sequence[LineScore], lines: int, name: str) -> RepeatVariances | None:
    """Return the variances of a metric between and within lines, of answered executions; None where each ran once."""
    count = 1 + max((score.line_number for score in scores), default=0) // lines
    if count == 1:
        return None
    repeats: dict[int, list[float]] = {}
    for score in scores:
        value = score.scores.get(name)
        if value is not None:
            repeats.setdefault(score.line_number % lines, []).append(value)
    means = [fmean(values) for values in repeats.values()]
    within = [variance(values) for values in repeats.values() if len(values) > 1]
    return RepeatVariances(
        count=count,
        between=variance(means) if len(means) > 1 else None,
        within=fmean(within) if within else None,
    )


def _averaged(number: int, executions: Sequence[LineScore]) -> LineScore:
    first = executions[0]
    if len(executions) == 1 and first.line_number == number:
        return first
    completed = [score for score in executions if score.status == "Completed"]
    return LineScore(
        line_number=number,
        line_id=first.line_id if first.line_number == number else first.line_id.rpartition("~")[0],
        status="Completed" if completed else "Failed",
        answered=all(score.answered for score in executions),
        scores={name: _mean(score.scores.get(name) for score in completed) for name in _names(completed, "scores")},
        counts=_mean_counts([score.counts for score in executions if score.counts]),
        failures={name: reason for score in executions for name, reason in score.failures.items()},
        counted_as={name: _mean_counted(executions, name) for name in _names(executions, "counted_as")},
        texts=completed[0].texts if completed else {},
        error=None if completed else first.error,
    )


def _names(executions: Iterable[LineScore], field: str) -> list[str]:
    return list(dict.fromkeys(name for score in executions for name in getattr(score, field)))


def _mean_counted(executions: Sequence[LineScore], name: str) -> float | None:
    """Return the mean with the failed executions; None where nobody can say what one of them counts as."""
    if any(score.counted_as.get(name, 0.0) is None for score in executions):
        return None
    return _mean(score.value(name) for score in executions)


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _mean_counts(counts: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Return the mean of each list of counts over the executions that have it."""
    names = dict.fromkeys(name for execution in counts for name in execution)
    columns = {name: [execution[name] for execution in counts if name in execution] for name in names}
    return {name: [fmean(column) for column in zip(*lists, strict=True)] for name, lists in columns.items()}
