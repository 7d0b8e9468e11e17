"""Parquet: rows as JSON holds them."""

from __future__ import annotations

import datetime
import decimal
import io
import math
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phi3flow.errors import DatasetError
from phi3flow.storage.opened import is_packed, open_data
from phi3flow.text import shorten

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_AS_TEXT = (decimal.Decimal, datetime.timedelta, uuid.UUID)


def read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """Yield (number from 1, row) of a Parquet file, or why a row is none that JSON can hold.

    An index of pandas that has no name is no column. Raises DatasetError where the file is no Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    with open_data(path) as opened:
        try:
            with pyarrow.parquet.ParquetFile(io.BytesIO(opened.read()) if is_packed(path) else opened) as file:
                _refuse_repeated(path, file.schema_arrow.names)
                batches = file.iter_batches()
                rows = (row for batch in batches for row in batch.to_pylist())
                for number, row in enumerate(rows, start=1):
                    yield number, _row_or_reason(row)
        except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
            raise DatasetError(f"{path} cannot be read as Parquet: {shorten(str(error))}") from error


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of Arrow's as JSON holds it: a time as ISO 8601, a decimal as its digits, nan as null.

    Raises ValueError for what would be another value: infinity, bytes that are no text.
    """
    values: dict[str, Any] = {}
    for name, value in row.items():
        try:
            values[name] = _json_value(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return values


def _row_or_reason(row: Mapping[str, Any]) -> dict[str, Any] | ValueError:
    try:
        return json_row({name: value for name, value in row.items() if not _PANDAS_INDEX.fullmatch(name)})
    except ValueError as error:
        return error


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _json_number(value)
        case Mapping():
            return {str(key): _json_value(member) for key, member in value.items()}
        case list() | tuple():
            return [_json_value(element) for element in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return _json_text(value)
    if isinstance(value, _AS_TEXT):
        return str(value)
    raise ValueError(f"a {type(value).__name__} is no JSON value")


def _json_number(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError(f"{value} is no JSON number")
    return None if math.isnan(value) else value


def _json_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{len(value):,} bytes are no text: {shorten(repr(value)[2:-1])}") from error


def _refuse_repeated(path: Path, names: list[str]) -> None:
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path}: two columns have the name {shorten(repeated)!r}: rename one")
