"""Rows written in each form that data come in, as the file's name says."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

FORMS = [
    *("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "A.CSV", "A.JSONL", "a.JSON", "a.txt", "a"),
    *("a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.TSV.GZ", "a.parquet.gz", "a.gz"),
]


def write_form(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows, whose values are texts or None, and return the path."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        write_csv(path, rows, encoding="utf-8-sig")
    elif name.endswith(".tsv"):
        write_csv(path, rows, delimiter="\t", lineterminator="\n")
    elif name.endswith(".parquet"):
        pandas.DataFrame(rows).to_parquet(path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8-sig")
    else:
        path.write_text("\r\n".join(json.dumps(row) for row in rows), encoding="utf-8-sig")
    if path.suffix.lower() == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], *, encoding: str = "utf-8", delimiter: str = ",", **dialect: Any
) -> Path:
    """Write rows as delimited text in any dialect, and return the path."""
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, **dialect)
        writer.writerow(rows[0])
        writer.writerows([row.values() for row in rows])
    return path
