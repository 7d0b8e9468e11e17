"""Evaluation lines: what a row's own columns become in them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from phi3flow.datasets.evaluation import evaluation_lines
from tests.support.chats import chat


def lines_of(row: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    hidden = Counter[str]()
    return list(evaluation_lines([row], hidden=hidden, **options)), hidden


def test_a_rows_own_columns_are_kept() -> None:
    own = {"context": "The kettle costs 39.", "category": "price", "level": 1.5, "tags": ["a"], "kind": 3}
    (line,), hidden = lines_of(chat("q", "a", **own))
    assert own.items() <= line.items()
    assert (line["question"], line["ground_truth"], hidden) == ("q", "a", {})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("question", "another"),
        ("ground_truth", "another"),
        ("chat_history", ["x"]),
        ("values", "x"),
        ("conversation_id", []),
    ],
)
def test_a_column_never_takes_the_place_of_the_lines_own_value_and_it_is_counted(column: str, value: object) -> None:
    (plain,), _ = lines_of(chat("q", "a"))
    (line,), hidden = lines_of(chat("q", "a", **{column: value}))
    assert {key: line[key] for key in plain if key not in ("line_id", "conversation_id")} == {
        key: plain[key] for key in plain if key not in ("line_id", "conversation_id")
    }
    assert hidden == {column: 1}


def test_a_system_message_is_the_context_and_the_column_is_counted() -> None:
    (line,), hidden = lines_of(chat("q", "a", system="s", context="c"))
    assert (line["context"], hidden) == ("s", {"context": 1})


def test_columns_that_say_what_the_line_says_are_no_clash() -> None:
    row = chat("q", "a", question="q", ground_truth="a", conversation_id=7, chat_history=[], values=["x"], context=None)
    (line,), hidden = lines_of(row)
    assert (line["conversation_id"], line["values"], line["context"], hidden) == ("7", ["x"], "", {})


def test_a_rows_own_line_id_is_its_first_lines_name() -> None:
    lines, _ = lines_of(chat("q", "a", "r", "b", line_id=7))
    assert [line["line_id"] for line in lines] == ["7", "7#2"]
    lines, _ = lines_of(chat("q", "a", "r", "b", line_id="x"), last_turn_only=True)
    assert [line["line_id"] for line in lines] == ["x"]


def test_an_answer_that_is_not_learnt_is_history_and_no_ground_truth() -> None:
    row = chat("q", "a", "r", "b", "s", "c", values=[["1"], ["2"], ["3"]], line_id="x")
    row["messages"][1]["weight"] = row["messages"][5]["weight"] = 0
    (line,), _ = lines_of(row)
    assert (line["line_id"], line["question"], line["ground_truth"], line["values"]) == ("x", "r", "b", ["2"])
    assert line["chat_history"] == [{"inputs": {"question": "q"}, "outputs": {"answer": "a"}}]
    assert lines_of(row, last_turn_only=True)[0] == [line]


def test_values_of_the_one_answer_that_is_learnt_are_its_own() -> None:
    row = chat("q", "a", "r", "b", values=["2"])
    row["messages"][1]["weight"] = 0
    (line,), _ = lines_of(row)
    assert line["values"] == ["2"]
