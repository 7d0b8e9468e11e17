"""Column mappings: which value of which source each flow input gets.

The semantics are promptflow's: ``${data.NAME}``, ``${run.inputs.NAME}`` and ``${run.outputs.NAME}`` name a
column, everything else is a literal, and an input that no mapping names takes the data column of its own name.
Unlike promptflow, a mapping is checked against the columns before anything runs, and a default that is there to try the
flow with ("Who founded Microsoft?") does not stand in for data: docs/flow-inputs.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from phi3flow.errors import ColumnMappingError
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.left_inputs import Columns, check_left_inputs, is_asked, list_columns, optional_inputs
from phi3flow.text import plural, shorten, visible

_LOG = logging.getLogger(__name__)
_WITHOUT_NULL = frozenset({"string", "int", "double", "bool", "list"})
_REFERENCE = re.compile(r"^\$\{([^{}]+)\}$")
_REFERENCE_INSIDE = re.compile(r"\$\s*[({]*\s*(data|run)\s*[.})]")

Sources = Mapping[str, Mapping[str, Any]]
"""One line's values by source (data, run.inputs, run.outputs) and column."""


def complete_mapping(
    mapping: Mapping[str, Any], *, inputs: Mapping[str, FlowInput], columns: Columns, where: str
) -> dict[str, Any]:
    """Return the mapping with every input that has a column of its own name added, or say what is missing.

    ``inputs`` are the flow's; ``columns`` each source's column names (``{"data": [...], "run.outputs": [...]}``; an
    unnamed input is looked up in that order); ``where`` begins the message. An input that is left to a default which
    is no data is refused, or warned of where that is less sure. Raises ColumnMappingError.
    """
    for name, value in mapping.items():
        if name not in inputs:
            raise ColumnMappingError(
                f"{where}: column_mapping.{name} names no input of the flow; the inputs are {_list(inputs)}"
            )
        if value is None and not _takes_null(name, inputs[name]):
            raise ColumnMappingError(f"{where}: column_mapping.{name} is null: give it a column or a value")
        reference = _reference(value)
        if not reference and isinstance(value, str):
            _check_constant(name, value, is_question=is_asked(name, inputs[name]), columns=columns, where=where)
        if reference and _find(reference, columns) is None:
            raise ColumnMappingError(
                f"{where}: column_mapping.{name} refers to {value}; the columns are {list_columns(columns)}"
            )
    result = dict(mapping)
    for name in inputs:
        source = next((source for source, names in columns.items() if name in names), None)
        if name not in result and source is not None:
            result[name] = f"${{{source}.{name}}}"
    check_left_inputs(result, inputs=inputs, columns=columns, used=_used(result, columns), where=where)
    return result


def _check_constant(name: str, text: str, *, is_question: bool, columns: Columns, where: str) -> None:
    """Refuse a text that is meant to be a column, or warn of one that may be. Raises ColumnMappingError."""
    said = f"{where}: column_mapping.{name} is the text {shorten(text)!r} in every line"
    own = next((f"${{{source}.{text.strip()}}}" for source, names in columns.items() if text.strip() in names), None)
    names_column = _REFERENCE_INSIDE.search(text) or any(
        re.search(rf"(?<![\w.]){re.escape(f'{source}.{column}')}(?!\w)", text)
        for source, names in columns.items()
        for column in names
    )
    if names_column or (own and is_question):
        raise ColumnMappingError(f"{said}: a column is the whole value, '{own or '${data.COLUMN}'}'")
    if is_question and not text.strip():
        raise ColumnMappingError(f"{said}: give it a column, '${{data.COLUMN}}', or a value")
    if own:
        _LOG.warning("warning: %s", visible(f"{said}, and the name of a column, which is '{own}'"))


def count_stated(stated: dict[str, int], row: Mapping[str, Any]) -> None:
    """Count a row in ``stated``, by column, where its value is not null."""
    for name, value in row.items():
        stated[name] = stated.get(name, 0) + (value is not None)


def warn_of_samples(
    mapping: Mapping[str, Any],
    *,
    inputs: Mapping[str, FlowInput],
    stated: Mapping[str, Mapping[str, int]],
    lines: int,
    where: str,
) -> None:
    """Warn of the inputs that have a column, and a default that is a sample in the ``lines`` that lack a value in it.

    ``stated`` counts by source and column the lines that have a value, which is not null.
    """
    optional = optional_inputs(inputs)
    samples = []
    for name, value in mapping.items():
        reference, declared = _reference(value), inputs[name]
        location = _find(reference, stated) if reference and name in optional and declared.is_sample else None
        missing = lines - stated[location[0]][location[1]] if location else 0
        if missing and declared.is_read:
            default = "" if declared.is_computed else f" {shorten(repr(declared.default))}"
            samples.append(
                f"{name!r} is its default{default} in {missing:,} of {plural(lines, 'line')}: {value} is empty"
            )
    if samples:
        _LOG.warning("warning: %s: %s", where, visible("; ".join(samples)))


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


def map_inputs(
    mapping: Mapping[str, Any], sources: Sources, inputs: Mapping[str, FlowInput], *, optional: Set[str]
) -> dict[str, Any]:
    """Apply a complete mapping of a flow's ``inputs``, of which some are ``optional``, to one line.

    An input is left out, and has its default, where the line lacks it or has a null for a text, a number or a list
    (promptflow would make "None" of it, or refuse it). Raises ColumnMappingError where the default is a sample or the
    input is what is asked.
    """
    result = map_line(mapping, sources, optional=optional)
    for name in [name for name, value in result.items() if value is None]:
        takes_null = _takes_null(name, inputs[name])
        if name in optional and (inputs[name].type in _WITHOUT_NULL or not takes_null):
            del result[name]
        elif not takes_null:
            raise ColumnMappingError(f"{name} is null in this line ({mapping[name]})")
    return result


def _takes_null(name: str, declared: FlowInput) -> bool:
    return declared.type != "string" and not declared.is_sample and not is_asked(name, declared)


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


def _used(mapping: Mapping[str, Any], columns: Columns) -> Iterator[str]:
    """Yield the names of the columns that a mapping takes."""
    for reference in filter(None, map(_reference, mapping.values())):
        if location := _find(reference, columns):
            yield location[1]
