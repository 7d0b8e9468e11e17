"""Data files beside promptflow's own reader of them, ``load_data``: the same rows, of whatever was written.

What differs on purpose stands in the last test, and why in docs/data-files.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promptflow._utils.load_data import load_data

from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import read_data

TEXTS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    | st.text(" ,;\t\"\n\r'a0", max_size=8)
    | st.sampled_from(["007", "NA", "nan", "None", "1e5", "1,5", "2024-01-02", "TRUE", "[1]", '{"a": 1}', "=1+1", ""])
)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**31), 2**31),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(str.strip),
    min_size=2,
    max_size=4,
    unique=True,
)
Rows = list[dict[str, Any]]


PLAIN_NAMES = st.lists(st.sampled_from(["question", "a b", "ü", "chat_history"]), min_size=1, max_size=4, unique=True)
"""pandas makes a number of a column's name that is one, and a date of what stands under some names."""


def rows_with(values: st.SearchStrategy[Any], names: st.SearchStrategy[list[str]] = NAMES) -> st.SearchStrategy[Rows]:
    return names.flatmap(
        lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, values)), min_size=1, max_size=4)
    )


def rows_of(path: Path) -> Rows:
    return [row for _, row in read_data(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@settings(max_examples=200)
@given(rows=rows_with(TEXTS), name=st.sampled_from(["a.csv", "a.tsv"]), windows=st.booleans(), bom=st.booleans())
def test_csv_and_tsv(folder: Path, rows: Rows, name: str, windows: bool, bom: bool) -> None:
    text = io.StringIO(newline="")
    separator = "," if name == "a.csv" else "\t"
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n" if windows else "\n", quoting=csv.QUOTE_ALL)
    writer.writerow(rows[0])
    writer.writerows([[row[column] for column in rows[0]] for row in rows])
    (folder / name).write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    theirs = [{column: cell or None for column, cell in row.items()} for row in load_data(folder / name)]
    assert rows_of(folder / name) == theirs == [{key: cell or None for key, cell in row.items()} for row in rows]


@settings(max_examples=100)
@given(rows=rows_with(VALUES, PLAIN_NAMES), indent=st.sampled_from([None, 0, 1]), ascii_only=st.booleans())
def test_json(folder: Path, rows: Rows, indent: int | None, ascii_only: bool) -> None:
    (folder / "a.json").write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert rows_of(folder / "a.json") == load_data(folder / "a.json") == rows


@settings(max_examples=50)
@given(rows=rows_with(TEXTS))
def test_parquet(folder: Path, rows: Rows) -> None:
    pandas.DataFrame(rows).to_parquet(folder / "a.parquet")
    assert rows_of(folder / "a.parquet") == load_data(folder / "a.parquet") == rows


@pytest.mark.parametrize(
    ("name", "write", "theirs", "ours"),
    [
        ("an empty cell is missing", b"q,a\n1,\n", [{"q": "1", "a": ""}], [{"q": "1", "a": None}]),
        ("a cell too many", b"q,a\n1,2,\n", [{"q": "2", "a": ""}], ":2: 3 cells where the header has 2 columns"),
        ("a cell too few", b"q,a\n1\n", [{"q": "1", "a": ""}], ":2: 1 cell where the header has 2 columns"),
        ("a column twice", b"q,q\n1,2\n", [{"q": "1", "q.1": "2"}], ":1: two columns have the name 'q'"),
        ("a column without a name", b"q,\n1,2\n", [{"q": "1", "Unnamed: 1": "2"}], ":1: column 2 of 2 has no name"),
        ("a semicolon", b"q;a\n1,5;2\n", None, [{"q": "1,5", "a": "2"}]),
    ],
)
def test_what_differs_in_csv(tmp_path: Path, name: str, write: bytes, theirs: Rows | None, ours: Rows | str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(write)
    if theirs is not None:
        assert load_data(path) == theirs
    if isinstance(ours, str):
        with pytest.raises(DatasetError, match=f"a.csv{ours}"):
            rows_of(path)
    else:
        assert rows_of(path) == ours


def _mixed(path: Path) -> None:
    pandas.DataFrame({"n": [9007199254740993], "share": [0.5]}).to_parquet(path)


def _dates(path: Path) -> None:
    path.write_text('[{"date": "1700000000", "modified": 1700000000}]')


def _digits(path: Path) -> None:
    path.write_text('[{"share": 0.1234567890123456789, "n": 12345678901234567890123}]')


@pytest.mark.parametrize(
    ("name", "write", "ours"),
    [
        ("a.parquet", _mixed, [{"n": 9007199254740993, "share": 0.5}]),
        ("a.json", _dates, [{"date": "1700000000", "modified": 1700000000}]),
        ("a.json", _digits, [{"share": 0.1234567890123456789, "n": 12345678901234567890123}]),
    ],
    ids=["integers beside floats", "columns that are called dates", "many digits"],
)
def test_pandas_guesses_are_not_taken_over(
    tmp_path: Path, name: str, write: Callable[[Path], None], ours: Rows
) -> None:
    write(tmp_path / name)
    assert rows_of(tmp_path / name) == ours
    try:
        theirs = load_data(tmp_path / name)
    except Exception:
        return
    assert theirs != ours
