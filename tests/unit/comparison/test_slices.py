"""Lines are sliced by a column, by the quartile of a number, and by a length."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.comparison.slices import describe_slices, slice_rows
from phi3flow.errors import ConfigError

values = st.none() | st.text(max_size=3) | st.integers(-5, 50) | st.floats(-10, 10) | st.booleans()


def _slices(column: str, *found: Any) -> dict[str, list[int]]:
    return {one.value: one.positions for one in slice_rows([{column: value} for value in found], column)}


def test_texts_come_as_they_first_come_and_what_lacks_the_column_last() -> None:
    assert _slices("kind", "fact", None, "chat", "fact") == {"fact": [0, 3], "chat": [2], "(none)": [1]}


def test_few_numbers_are_themselves_and_ascend() -> None:
    assert _slices("turn", 2, 1, 10, 1) == {"1": [1, 3], "2": [0], "10": [2]}


def test_many_numbers_are_cut_into_quartiles() -> None:
    found = _slices("score", *range(100, 0, -1))
    assert list(found) == ["1 to 25", "26 to 50", "51 to 75", "76 to 100"]
    assert {len(places) for places in found.values()} == {25}


def test_a_length_is_of_texts_in_characters_and_of_lists() -> None:
    rows = [{"question": "ab", "values": []}, {"question": "abc", "values": ["x"]}, {"question": "日本"}]
    assert {one.value: one.positions for one in slice_rows(rows, "question.length")} == {"2": [0, 2], "3": [1]}
    assert [one.value for one in slice_rows(rows, "values.length")] == ["0", "1", "(none)"]


@given(st.lists(values, min_size=1, max_size=80))
def test_every_line_is_in_one_slice(found: list[Any]) -> None:
    if any(value is not None for value in found):
        places = [place for places in _slices("x", *found).values() for place in places]
        assert sorted(places) == list(range(len(found)))


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="--by kind: the data have no such column; they have question, language"):
        slice_rows([{"question": "a", "language": "ko"}], "kind")


def test_a_column_that_tells_every_line_apart_is_refused() -> None:
    with pytest.raises(ConfigError, match="--by question: 150 different values, such as 'q0'"):
        slice_rows([{"question": f"q{number}"} for number in range(150)], "question")


def test_many_or_small_slices_come_with_a_warning() -> None:
    assert describe_slices([200, 300], 0.05) is None
    assert describe_slices([200, 10], 0.05) == (
        "1 of 2 slices have fewer than 30 lines: look at p_holm, which counts the slices"
    )
    note = describe_slices([100] * 20, 0.05)
    assert note is not None
    assert "of 20 slices without any difference, at least one shows one in 64% of all cases" in note
