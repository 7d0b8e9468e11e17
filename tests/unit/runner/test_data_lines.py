"""The data file of a run, as it is checked and streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import DatasetError
from phi3flow.runner.data_lines import DataLines
from phi3flow.storage.jsonl import line_id, parse_row, with_line_ids
from tests.support.flows.foreign_flows import write_lines

ROWS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"question": st.sampled_from("abc")}),
        st.fixed_dictionaries({"line_id": st.sampled_from(["x", "y", "x#2", "x#3", "x#2#2", "y#"])}),
    ),
    min_size=1,
    max_size=20,
)


@given(rows=ROWS)
def test_lines_are_named_as_by_the_whole_file(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_lines(tmp_path_factory.mktemp("data") / "lines.jsonl", rows)
    lines = DataLines.scan(path)
    named = [(line.line_id or line_id(parse_row(line.row)), parse_row(line.row)) for line in lines]
    assert named == list(with_line_ids(rows))
    assert [line.number for line in lines] == list(range(len(rows)))


def test_what_editors_leave_behind_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"b": 2}')
    lines = DataLines.scan(path)
    assert (lines.total, lines.stated) == (2, {"a": 1, "b": 1})
    assert [json.loads(line.row) for line in lines] == [{"a": 1}, {"b": 2}]


def test_a_limit_takes_the_first_lines_but_all_are_checked(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "lines.jsonl", [{"q": number} for number in range(5)])
    assert [line.number for line in DataLines.scan(path, limit=2)] == [0, 1]
    with path.open("a", encoding="utf-8") as file:
        file.write("[1]\n")
    with pytest.raises(DatasetError, match=r"lines\.jsonl:6: not a JSON object"):
        DataLines.scan(path, limit=2)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"lines\.jsonl: has no lines"):
        DataLines.scan(path)
