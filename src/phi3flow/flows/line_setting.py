"""What a flow asks of its model for a line: its temperature, the tokens that an answer may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi3flow.flows import Flow


def line_setting(flow: Flow, inputs: Mapping[str, Any], *names: str) -> float | None:
    """Return a setting's number: the line's input of that name, else its default, else what a node is given.

    None where the flow names it nowhere, or nodes differ.
    """
    for name in names:
        if name in inputs:
            return _number(inputs[name])
        if name in flow.inputs and flow.inputs[name].has_default:
            return _number(flow.inputs[name].default)
    nodes = flow.definition.get("nodes", [])
    numbers = {_number((node.get("inputs") or {}).get(name)) for node in nodes for name in names} - {None}
    return numbers.pop() if len(numbers) == 1 else None


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
