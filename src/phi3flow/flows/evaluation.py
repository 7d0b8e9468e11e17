"""One line's way through an evaluation flow: the inputs that it gets, the scores and counts that come out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from phi3flow.errors import ColumnMappingError, FlowError
from phi3flow.flows import Flow
from phi3flow.flows.column_mapping import map_line
from phi3flow.records.scores import ScoreRange

_COUNTS = "_statistics"
_ROUNDING = 1e-9  # sacrebleu's BLEU of a perfect answer is 100.00000000000004


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


_REQUESTS_TAG = "requests_per_line"


def requests_per_line(flow: Flow) -> int:
    """Return the most requests that the flow says it makes for a line: its tag ``requests_per_line``, else 0.

    Raises FlowError where the tag is not a number of at least 1.
    """
    value = (flow.definition.get("tags") or {}).get(_REQUESTS_TAG)
    if value is None:
        return 0
    if not str(value).isdigit() or int(value) < 1:
        raise FlowError(f"{flow.folder / flow.file}: the tag {_REQUESTS_TAG} is {value!r}, not a number of at least 1")
    return int(value)
