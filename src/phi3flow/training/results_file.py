"""results.csv, in which Azure OpenAI leaves the curves of a fine-tune."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import fields

from phi3flow.errors import DatasetError
from phi3flow.text import shorten
from phi3flow.training.service_curves import MetricSeries, ServiceCurves, curves_of

_COLUMN = re.compile(r"(full_)?(train|training|valid|validation)_(loss|(?:mean_token_|token_)?accuracy)")
_SERIES = [field.name for field in fields(MetricSeries)]
_MEASURED_ON = {"train": "", "valid": "batch_", "full_valid": "whole_"}


def read_results(content: bytes | str, *, source: str = "results.csv") -> ServiceCurves:
    """Return the curves in a results file, whose rows are steps: a blank cell was not measured.

    Columns may stand in any order and be spelled as any version of the service does (``valid_loss``,
    ``validation_mean_token_accuracy``, ``train_accuracy``); those of other names are left out. ``full_`` columns were
    measured on all of the validation data, the others on a batch. Raises DatasetError "source:line: reason" for what is
    no number, and for a file without the column ``step``.
    """
    rows = list(_rows(_text(content, source), source))
    if not rows:
        raise DatasetError(f"{source} is empty: the service wrote no step")
    _, header = rows[0]
    names = [cell.strip().casefold() for cell in header]
    if "step" not in names:
        raise DatasetError(f"{source} has no column step: its columns are {shorten(', '.join(header))}")
    series: dict[str, dict[int, float]] = {}
    for line, cells in rows[1:]:
        row = dict(zip(names, cells, strict=False))
        step = _step(row.get("step", ""), f"{source}:{line}")
        for name, cell in row.items():
            metric = _metric(name)
            if metric and cell.strip():
                series.setdefault(metric, {})[step] = _number(cell, f"{source}:{line}: {name}")
    return curves_of(MetricSeries(**{name: series.get(name, {}) for name in _SERIES}))


def _text(content: bytes | str, source: str) -> str:
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise DatasetError(f"{source} is not UTF-8 at byte {error.start}") from error
    return text.removeprefix("\ufeff")


def _rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, cells) of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{source}:{reader.line_num}: not CSV: {error}") from error


def _metric(column: str) -> str | None:
    """Return what a column is in a MetricSeries, None where it is nothing there."""
    if column in ("learning_rate", "epoch"):
        return column
    match = _COLUMN.fullmatch(column)
    if match is None:
        return None
    split = "train" if match[2].startswith("train") else "valid"
    measured_on = _MEASURED_ON.get(f"{match[1] or ''}{split}")
    return None if measured_on is None else f"{measured_on}{'loss' if match[3] == 'loss' else 'accuracy'}"


def _step(cell: str, place: str) -> int:
    number = _number(cell, f"{place}: step")
    if not (number >= 0 and number.is_integer()):
        raise DatasetError(f"{place}: step is no whole number: {shorten(repr(cell))}")
    return int(number)


def _number(cell: str, place: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DatasetError(f"{place} is no number: {shorten(repr(cell)) if cell.strip() else 'missing'}") from None
