"""Column mappings: which value of which source each flow input gets.

The semantics are promptflow's: ``${data.NAME}``, ``${run.inputs.NAME}`` and ``${run.outputs.NAME}`` name a
column, everything else is a literal, and an input that no mapping names takes the data column of its own name.
Unlike promptflow, a mapping is checked against the columns before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from phi3flow.errors import ColumnMappingError

_REFERENCE = re.compile(r"^\$\{([^{}]+)\}$")

Sources = Mapping[str, Mapping[str, Any]]
"""One line's values by source (data, run.inputs, run.outputs) and column."""


def complete_mapping(
    mapping: Mapping[str, Any],
    *,
    inputs: Mapping[str, bool],
    columns: Mapping[str, Iterable[str]],
    where: str,
) -> dict[str, Any]:
    """Return the mapping with every input that has a column of its own name added, or say what is missing.

    ``inputs`` gives each flow input's name and whether it has a default; ``columns`` each source's column
    names (``{"data": [...], "run.outputs": [...]}``; an unnamed input is looked up in that order); ``where``
    begins the message. Raises ColumnMappingError.
    """
    names_by_source = {source: list(names) for source, names in columns.items()}
    for name, value in mapping.items():
        if name not in inputs:
            raise ColumnMappingError(
                f"{where}: column_mapping.{name} names no input of the flow; the inputs are {_list(inputs)}"
            )
        reference = _reference(value)
        if reference and _find(reference, names_by_source) is None:
            raise ColumnMappingError(
                f"{where}: column_mapping.{name} refers to {value}; the columns are {_list_columns(names_by_source)}"
            )
    result = dict(mapping)
    for name, has_default in inputs.items():
        if name in result:
            continue
        source = next((source for source, names in names_by_source.items() if name in names), None)
        if source is not None:
            result[name] = f"${{{source}.{name}}}"
        elif not has_default:
            raise ColumnMappingError(
                f"{where}: the flow's input {name!r} gets no value: it has no default, there is no column {name!r} "
                f"and no column_mapping names it; the columns are {_list_columns(names_by_source)}. "
                f"Add --column-mapping {name}='${{data.COLUMN}}'"
            )
    return result


def map_line(mapping: Mapping[str, Any], sources: Sources, *, optional: Iterable[str] = ()) -> dict[str, Any]:
    """Apply a complete mapping to one line.

    An input in ``optional`` (it has a default) is left out where this line lacks its column.
    Raises ColumnMappingError where another's column is missing in this line.
    """
    may_lack = set(optional)
    result: dict[str, Any] = {}
    for name, value in mapping.items():
        reference = _reference(value)
        if reference is None:
            result[name] = value
            continue
        location = _find(reference, sources)
        if location is not None:
            source, column = location
            result[name] = sources[source][column]
        elif name not in may_lack:
            raise ColumnMappingError(f"column_mapping.{name} refers to {value}, which this line does not have")
    return result


def _reference(value: Any) -> str | None:
    match = _REFERENCE.match(value) if isinstance(value, str) else None
    return match.group(1) if match else None


def _find(reference: str, sources: Mapping[str, Any]) -> tuple[str, str] | None:
    """Split ``run.outputs.answer`` at each dot in turn: a column's name may hold dots itself."""
    words = reference.split(".")
    for index in range(1, len(words)):
        source, column = ".".join(words[:index]), ".".join(words[index:])
        if source in sources and column in sources[source]:
            return source, column
    return None


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _list_columns(columns: Mapping[str, Iterable[str]]) -> str:
    return ", ".join(f"${{{source}.{name}}}" for source, names in columns.items() for name in names) or "none"
