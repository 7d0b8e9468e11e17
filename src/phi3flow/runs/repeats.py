"""Lines that ran several times, averaged; and lines that failed, where the user has them counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from phi3flow.records.scores import LineScore, RepeatVariances


def count_failed(scores: Sequence[LineScore], least: Mapping[str, float]) -> list[LineScore]:
    """Return the scores where each metric of ``least`` that failed on a line counts as that.

    A metric that some lines lack although it did not fail there does not apply to all: of a line that failed nobody
    knows whether it would, so that such a metric is left as it is.
    """
    completed = [score for score in scores if score.status == "Completed"]
    counted = {
        name: value
        for name, value in least.items()
        if all(score.scores.get(name) is not None or name in score.failures for score in completed)
    }
    return [
        score.model_copy(
            update={"counted_as": {name: value for name, value in counted.items() if score.scores.get(name) is None}}
        )
        for score in scores
    ]


def average_repeats(scores: Sequence[LineScore], lines: int) -> list[LineScore]:
    """Return one score for each line of the data: the mean over its repeats that have one.

    ``lines`` is the run's ``Manifest.lines``; counts of corpus metrics are averaged too.
    """
    repeats: dict[int, list[LineScore]] = {}
    for score in scores:
        repeats.setdefault(score.line_number % lines, []).append(score)
    return [_averaged(number, line_repeats) for number, line_repeats in sorted(repeats.items())]


def repeat_variances(scores: Sequence[LineScore], lines: int, name: str) -> RepeatVariances | None:
    """Return the variances of a metric between and within lines; None where each ran once."""
    count = 1 + max((score.line_number for score in scores), default=0) // lines
    if count == 1:
        return None
    repeats: dict[int, list[float]] = {}
    for score in scores:
        value = score.value(name)
        if value is not None:
            repeats.setdefault(score.line_number % lines, []).append(value)
    means = [fmean(values) for values in repeats.values()]
    within = [variance(values) for values in repeats.values() if len(values) > 1]
    return RepeatVariances(
        count=count,
        between=variance(means) if len(means) > 1 else None,
        within=fmean(within) if within else None,
    )


def _averaged(number: int, repeats: Sequence[LineScore]) -> LineScore:
    first = repeats[0]
    completed = [score for score in repeats if score.status == "Completed"]
    if len(repeats) == 1 and first.line_number == number:
        return first
    identity = first.line_id if first.line_number == number else first.line_id.rpartition("~")[0]
    names = dict.fromkeys(name for score in completed for name in score.scores)
    counts = dict.fromkeys(name for score in completed for name in score.counts)
    return first.model_copy(
        update={
            "line_number": number,
            "line_id": identity,
            "status": "Completed" if completed else "Failed",
            "scores": {name: _mean([score.value(name) for score in repeats]) for name in names},
            "counts": {
                name: _mean_counts([score.counts[name] for score in completed if name in score.counts])
                for name in counts
            },
            "failures": {name: reason for score in completed for name, reason in score.failures.items()},
            "error": None if completed else first.error,
        }
    )


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _mean_counts(counts: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(column) for column in zip(*counts, strict=True)]
