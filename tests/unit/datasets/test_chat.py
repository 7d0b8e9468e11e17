"""Chat rows: what is wrong with them, and the lines to evaluate that they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.datasets import evaluation_lines, read_chats
from phi3flow.datasets.chat import breaches
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import write_rows
from tests.support.chats import chat, message


def test_a_right_chat_has_no_breach() -> None:
    assert list(breaches(chat("q", "a", "q2", "a2", system="be kind", prompt_id="7"))) == []


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({}, ["messages must be a list of messages: missing"]),
        ({"messages": "hi"}, ["messages must be a list of messages: 'hi'"]),
        ({"messages": []}, ["messages must be a list of messages: []"]),
        ({"messages": ["hi"]}, ["message 1: not an object: 'hi'"]),
        (
            {"messages": [message("bot", " "), message("user", 3)]},
            [
                "message 1: role must be system, user or assistant: 'bot'",
                "message 1: content is empty: ' '",
                "message 2: content must be a string: 3",
            ],
        ),
        ({"messages": [{"role": "user"}]}, ["message 1: content must be a string: missing"]),
        (chat("q"), ["the last message must be an assistant's: user"]),
        (
            {"messages": [message("system", "s")]},
            ["the last message must be an assistant's: system"],
        ),
        (
            {"messages": [message("user", "q"), message("system", "s"), message("assistant", "a")]},
            ["message 2: a system message stands first or not at all"],
        ),
        (
            {"messages": [message("assistant", "a")]},
            ["message 1: user and assistant take turns, user first: assistant where user is due"],
        ),
        (
            {"messages": [message("user", "q"), message("user", "q"), message("assistant", "a")]},
            ["message 2: user and assistant take turns, user first: user where assistant is due"],
        ),
    ],
)
def test_every_breach_of_a_row_is_named(row: dict, reasons: list[str]) -> None:
    assert list(breaches(row)) == reasons


def test_reading_chats_lists_every_breach_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages":[]}\n\nnonsense\n{"messages":[{"role":"user","content":"q"}]}\n')
    with pytest.raises(DatasetError) as caught:
        read_chats(path)
    assert str(caught.value).splitlines() == [
        "3 breaches of the chat format:",
        f"{path}:1: messages must be a list of messages: []",
        f"{path}:3: not JSON (Expecting value, column 1): nonsense",
        f"{path}:4: the last message must be an assistant's: user",
    ]


def test_reading_chats_keeps_other_keys_and_refuses_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    write_rows(path, [chat("q", "a", prompt_id="7")])
    assert read_chats(path) == [chat("q", "a", prompt_id="7")]
    write_rows(path, [])
    with pytest.raises(DatasetError, match="holds no conversation"):
        read_chats(path)


def test_there_is_an_evaluation_line_for_each_assistant_turn() -> None:
    row = chat("q1", "a1", "q2", "a2", system="s", conversation_id="c", values=[["1"], []], kind="k", language="de")
    first, second = evaluation_lines([row])
    assert first | {"line_id": ""} == {
        "line_id": "",
        "conversation_id": "c",
        "question": "q1",
        "chat_history": [],
        "context": "s",
        "ground_truth": "a1",
        "values": ["1"],
        "kind": "k",
        "language": "de",
    }
    assert second["chat_history"] == [{"inputs": {"question": "q1"}, "outputs": {"answer": "a1"}}]
    assert (second["question"], second["ground_truth"], second["values"]) == ("q2", "a2", [])
    assert first["line_id"] != second["line_id"]
    assert list(evaluation_lines([row], last_turn_only=True)) == [second]


@pytest.mark.parametrize("values", [[1, 2], [["x"]], "x", [["x"], [3]], None])
def test_a_values_column_of_another_meaning_is_left_alone(values: object) -> None:
    lines = evaluation_lines([chat("q1", "a1", "q2", "a2", values=values)])
    assert [line["values"] for line in lines] == [[], []]


def test_a_conversation_is_named_by_its_id_its_prompt_id_or_its_content() -> None:
    rows = [chat("q", "a", conversation_id="c", prompt_id="p"), chat("q", "a", prompt_id="p"), chat("q", "a")]
    names = [line["conversation_id"] for line in evaluation_lines(rows)]
    assert names[:2] == ["c", "p"]
    assert len(names[2]) == 64
