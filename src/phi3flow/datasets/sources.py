"""Where conversations come from: JSON Lines, CSV and Parquet files, and Hugging Face datasets.

Every reader yields rows with their source and line, or what is wrong with a row instead, so that one pass lists
all that is. ``shapes`` makes chats of them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow, read_jsonl
from phi3flow.datasets.shapes import Rows
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.storage.jsonl import Row
from phi3flow.text import shorten


def read_files(paths: Iterable[Path]) -> Rows:
    """Yield the rows of several files, each read by its suffix. Raises ConfigError for another suffix."""
    for path in paths:
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(f"{path}: the suffix must be one of {', '.join(_READERS)}")
        yield from reader(path)


def read_hugging_face(name: str, *, config: str | None, split: str) -> Rows:
    """Yield the rows of a split of a dataset on the Hugging Face hub, or of a local folder in its layout.

    ``split`` may take a slice (``train_sft[:1%]``). Raises DatasetError where it cannot be loaded.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(name, config, f"split {split}", error) from error
    yield from plain_rows(f"{name}[{split}]", loaded)


def cannot_load(name: str, config: str | None, split: str, error: Exception) -> DatasetError:
    """Return the error that says why a dataset cannot be loaded, and what to do."""
    return DatasetError(
        f"the dataset {name} (config {config or 'default'}, {split}) cannot be loaded: "
        f"{shorten(str(error))} Check the names; without a way to the hub give a local folder, or files by --input"
    )


def is_readable(path: Path) -> bool:
    """Tell whether ``read_files`` takes files of this suffix."""
    return path.suffix.lower() in _READERS


def _read_csv(path: Path) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a whole conversation in one cell is longer than the module's 128 KiB
    start = 1
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        columns = len(reader.fieldnames or ())
        start = reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                yield Breach(str(path), start, f"the row does not have the header's {columns} columns")
            else:
                yield LocatedRow(str(path), start, dict(row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}:{start}: not CSV: {error}") from error


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8: {shorten(repr(error.object[error.start :])[2:-1])}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _read_parquet(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from plain_rows(str(path), (row for batch in file.iter_batches() for row in batch.to_pylist()))
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {shorten(str(error))}") from error


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def plain_rows(source: str, rows: Iterable[Row]) -> Rows:
    """Yield rows out of Arrow as JSON can hold them."""
    for number, row in enumerate(rows, start=1):
        try:
            yield LocatedRow(source, number, {key: _json_value(value) for key, value in row.items()})
        except ValueError as error:
            yield Breach(source, number, str(error))


def _json_value(value: Any) -> Any:
    """Return a value as JSON holds it. Raises ValueError for an infinite number; NaN is a missing one in a table."""
    if isinstance(value, dict):
        return {key: _json_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_json_value(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise ValueError(f"{value} is beyond what a number can be")
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
