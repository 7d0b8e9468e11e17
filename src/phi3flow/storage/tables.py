"""Tables for other programs: CSV for a spreadsheet, Parquet for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError
from phi3flow.storage.files import write_file

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check_table_name(path: Path) -> Path:
    """Return the path. Raises ConfigError where its ending names no format that can be written."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--output {path}: a table is written as .csv or .parquet")
    return path


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, whose columns are the keys of all of them, as the path's ending says; a missing value stays empty.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection);
    Parquet holds it as it is.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if check_table_name(path).suffix.lower() == ".csv":
        write_file(path, _csv(columns, rows).encode("utf-8-sig"))  # Excel reads UTF-8 by its mark only
        return
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({name: [row.get(name) for row in rows] for name in columns})
    content = io.BytesIO()
    parquet.write_table(table, content)
    write_file(path, content.getvalue())


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
