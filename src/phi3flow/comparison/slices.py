"""Slices: the lines of a run by a column of its data, such as kind or language, or by the quartile of a number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phi3flow.errors import ConfigError
from phi3flow.storage.jsonl import Row

MOST_SLICES = 100
SMALL_SLICE = 30
ABSENT = "(none)"

_LENGTH = ".length"
_MOST_NUMBERS = 12  # more different numbers than these are cut into quartiles
_MANY = 10  # beyond these, one slice shows a difference by chance in 40 % of all cases


@dataclass(frozen=True)
class LineSlice:
    """The lines, by their positions among those that were sliced, whose ``column`` is ``value``."""

    column: str
    value: str
    positions: list[int]


def slice_rows(rows: Sequence[Row], column: str) -> list[LineSlice]:
    """Return the slices by ``column``; ``COLUMN.length`` is the length of a text in characters, or of a list.

    Numbers of more than 12 values are cut into quartiles; a row without the column is in a slice of its own. The
    order is that of the values: numbers ascending, texts as they first come.

    Raises ConfigError where no row has the column, or where it has more than 100 values.
    """
    values = [_value(row, column) for row in rows]
    if all(value is None for value in values):
        columns = ", ".join(dict.fromkeys(name for row in rows for name in row)) or "none"
        raise ConfigError(f"--by {column}: the data have no such column; they have {columns}")
    labels = _quartiles(values) if _are_numbers(values) else [_label(value) for value in values]
    positions: dict[str, list[int]] = {}
    for position in sorted(range(len(labels)), key=lambda position: labels[position].order):
        positions.setdefault(labels[position].text, []).append(position)
    if len(positions) > MOST_SLICES:
        raise ConfigError(
            f"--by {column}: {len(positions)} different values, such as {next(iter(positions))!r}: "
            f"a slice needs several lines; at most {MOST_SLICES} slices are compared"
        )
    return [LineSlice(column, value, positions[value]) for value in positions]


def describe_slices(sizes: Sequence[int], alpha: float) -> str | None:
    """Return a warning where the slices are many or small, None where they are neither."""
    small = sum(size < SMALL_SLICE for size in sizes)
    if len(sizes) <= _MANY and not small:
        return None
    warnings = [f"{small} of {len(sizes)} slices have fewer than {SMALL_SLICE} lines"] if small else []
    if len(sizes) > _MANY:
        chance = 1 - (1 - alpha) ** len(sizes)
        warnings.append(
            f"of {len(sizes)} slices without any difference, at least one shows one in {chance:.0%} of all cases"
        )
    return "; ".join(warnings) + ": look at p_holm, which counts the slices"


@dataclass(frozen=True)
class _Label:
    text: str
    order: tuple[int, float]


def _value(row: Row, column: str) -> Any:
    if column in row or not column.endswith(_LENGTH):
        return row.get(column)
    measured = row.get(column.removesuffix(_LENGTH))
    return len(measured) if isinstance(measured, str | list | dict) else None


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)


def _label(value: Any) -> _Label:
    if value is None:
        return _Label(ABSENT, (1, 0.0))
    return _Label(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True), (0, 0.0))


def _quartiles(values: Sequence[float | None]) -> list[_Label]:
    numbers = np.array([value for value in values if value is not None], dtype=float)
    distinct = np.unique(numbers)
    if len(distinct) <= _MOST_NUMBERS:
        return [_Label(_number(value), (0, value)) if value is not None else _label(None) for value in values]
    cuts = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="lower"))
    quartiles = np.searchsorted(cuts, numbers, side="left")
    labels = {
        quartile: _Label(_span(numbers[quartiles == quartile]), (0, quartile)) for quartile in np.unique(quartiles)
    }
    of_numbers = iter(quartiles)
    return [_label(None) if value is None else labels[next(of_numbers)] for value in values]


def _span(values: np.ndarray[Any, Any]) -> str:
    return f"{_number(values.min())} to {_number(values.max())}"


def _number(value: float) -> str:
    return f"{value:.6g}"
