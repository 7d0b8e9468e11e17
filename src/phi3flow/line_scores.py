"""One line's way through an evaluation flow: the inputs that it gets, the scores and counts that come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from phi3flow.errors import ColumnMappingError, FlowError
from phi3flow.run_config import map_line

_CLUSTER_COLUMN = "conversation_id"
_COUNTS = "_statistics"


def cluster_labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each row's cluster: its conversation, or itself where it names none."""
    labels = (row.get(_CLUSTER_COLUMN) for row in rows)
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


def read_scores(outputs: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the outputs that are scores: numbers, truth values, and nulls; texts and others are left out.

    Raises FlowError for NaN and infinity, which are neither a score nor the absence of one.
    """
    scores: dict[str, float | None] = {}
    for name, value in outputs.items():
        if value is None:
            scores[name] = None
        elif isinstance(value, int | float):
            if not math.isfinite(value):
                raise FlowError(f"the evaluation flow's output {name} is {value}")
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
