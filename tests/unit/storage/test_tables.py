"""Tables are written as CSV and Parquet, and a spreadsheet runs nothing that stands in them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from phi3flow.errors import ConfigError
from phi3flow.storage.tables import check_table_name, write_table

ROWS: list[dict[str, Any]] = [{"run": "a", "f1": 0.5}, {"run": 'b,"c"\n', "n": 3}]
rows = st.lists(st.fixed_dictionaries({"text": st.text(st.characters(codec="utf-8"))}), min_size=1, max_size=5)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_missing_value_is_an_empty_cell(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ROWS)
    assert _read_csv(tmp_path / "t.csv") == [
        {"run": "a", "f1": "0.5", "n": ""},
        {"run": 'b,"c"\n', "f1": "", "n": "3"},
    ]


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", ROWS)
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"run": "a", "f1": 0.5, "n": None},
        {"run": 'b,"c"\n', "f1": None, "n": 3},
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_parquet_holds_any_text_as_it_is(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    write_table(tmp_path / "t.parquet", rows)
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx"])
def test_a_formula_is_a_text_in_csv(tmp_path: Path, text: str) -> None:
    write_table(tmp_path / "t.csv", [{"answer": text, "f1": -1.0}])
    assert _read_csv(tmp_path / "t.csv") == [{"answer": f"'{text}", "f1": "-1.0"}]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--output .*t\.xlsx: a table is written as \.csv or \.parquet"):
        check_table_name(tmp_path / "t.xlsx")
