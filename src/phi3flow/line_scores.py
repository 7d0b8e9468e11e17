"""One line's way through an evaluation flow: the inputs that it gets, the scores and counts that come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from types import MappingProxyType
from typing import Any

from phi3flow.errors import ColumnMappingError, FlowError
from phi3flow.records import LineScore, RepeatVariances, ScoreRange
from phi3flow.run_config import map_line

CLUSTER_COLUMN = "conversation_id"
_COUNTS = "_statistics"
_ROUNDING = 1e-9  # sacrebleu's BLEU of a perfect answer is 100.00000000000004


def cluster_labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each row's cluster: its conversation, or itself where it names none."""
    labels = (row.get(CLUSTER_COLUMN) for row in rows)
    return [f"line {number}" if label is None else f"conversation {label}" for number, label in enumerate(labels)]


def evaluation_inputs(
    mapping: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the inputs that a complete mapping gives a line; a null takes the input's default.

    Raises ColumnMappingError where a null has none: promptflow would turn it into the text "None", and score that.
    """
    mapped = map_line(mapping, sources, optional=defaults)
    inputs = {**defaults, **{name: value for name, value in mapped.items() if value is not None}}
    for name in mapped.keys() - inputs.keys():
        raise ColumnMappingError(f"{name} is null in this line ({mapping[name]})")
    return inputs


def read_scores(
    outputs: Mapping[str, Any], ranges: Mapping[str, ScoreRange] = MappingProxyType({})
) -> dict[str, float | None]:
    """Return the outputs that are scores: numbers, truth values, and nulls; texts and others are left out.

    Raises FlowError for NaN and infinity, which are neither a score nor the absence of one, and for a score outside of
    the metric's range.
    """
    scores: dict[str, float | None] = {}
    for name, value in outputs.items():
        if value is None:
            scores[name] = None
        elif isinstance(value, int | float):
            if not math.isfinite(value):
                raise FlowError(f"the evaluation flow's output {name} is {value}")
            low, high = ranges.get(name, (-math.inf, math.inf))
            if not low - _ROUNDING <= value <= high + _ROUNDING:
                raise FlowError(f"the evaluation flow's output {name} is {value:g}, outside of {low:g}..{high:g}")
            scores[name] = float(value)
    return scores


def read_counts(aggregation_inputs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the lists of numbers among what the aggregation will want, by their names without ``_statistics``."""
    values = [value for value in aggregation_inputs.values() if isinstance(value, dict)]
    return {
        name.removesuffix(_COUNTS): [float(count) for count in counts]
        for value in values
        for name, counts in value.items()
        if name.endswith(_COUNTS) and isinstance(counts, list) and all(isinstance(one, int | float) for one in counts)
    }


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
    return [_averaged(number, each) for number, each in sorted(repeats.items())]


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
    first, *others = repeats
    completed = [score for score in repeats if score.status == "Completed"]
    if not others and first.line_number == number:
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
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _mean_counts(counts: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(each) for each in zip(*counts, strict=True)]
