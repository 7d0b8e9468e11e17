"""The shapes that chats are written in elsewhere: what is recognised, what is refused, and what becomes of numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.datasets.chat import LocatedRow, breaches
from phi3flow.datasets.shapes import ANSWER_COLUMNS, QUESTION_COLUMNS, Columns, ShapeReader, as_chat
from phi3flow.errors import ConfigError
from phi3flow.storage.jsonl import WrittenFloat, parse_row
from tests.support.chats import chat

TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)


def read(line: str, **columns: str) -> tuple[str, dict[str, Any]]:
    return as_chat(parse_row(line.encode(), parse_float=WrittenFloat), Columns.of(columns))


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ('{"query":"q","response":"a"}', "pairs: question = query, answer = response"),
        ('{"input":"q","output":"a"}', "pairs: question = input, answer = output"),
        ('{"instruction":"q","output":"a"}', "pairs: question = instruction, answer = output"),
        ('{"Question":"q","Answer":"a"}', "pairs: question = Question, answer = Answer"),
        ('{"QUESTION":"q","Ground Truth":"a"}', "pairs: question = QUESTION, answer = Ground Truth"),
        ('{"prompt":"q","completion":"a"}', "pairs: question = prompt, answer = completion"),
        ('{"question":"q","response":null,"answer":"a"}', "pairs: question = question, answer = answer"),
        ('{"instruction":"q","input":"","output":"a"}', "Alpaca: question = instruction + input, answer = output"),
        (
            '{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}',
            "TRL: prompt and completion, lists of messages",
        ),
        (
            '{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}',
            "ShareGPT: conversations[].from/value",
        ),
        (
            '{"conversation":"[{\\"from\\":\\"human\\",\\"value\\":\\"q\\"},{\\"from\\":\\"gpt\\",\\"value\\":\\"a\\"}]"}',
            "ShareGPT: conversation[].from/value",
        ),
        (
            '{"conversations":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}',
            "chats: conversations[].role/content",
        ),
        (
            '{"messages":null,"question":"q","answer":"a"}',
            "pairs: question = question, answer = answer",
        ),
    ],
)
def test_a_known_shape_is_recognised_and_named(line: str, shape: str) -> None:
    assert read(line)[0] == shape
    assert read(line)[1]["messages"] == chat("q", "a")["messages"]


def test_alpacas_input_follows_its_instruction_after_a_blank_line() -> None:
    _, row = read('{"instruction":"Translate.","input":"Haus","output":"house","category":"t"}')
    assert row == chat("Translate.\n\nHaus", "house", category="t")


def test_a_system_column_opens_the_chat_and_other_columns_stay() -> None:
    shape, row = read('{"id":7,"system_prompt":"Be brief.","question":"q","response":"a","context":"c"}')
    assert row == chat("q", "a", system="Be brief.", id=7, context="c")
    assert shape.endswith("system message = system_prompt")
    assert read('{"system":" ","question":"q","answer":"a"}')[1] == chat("q", "a") | {"system": " "}
    assert read('{"system":{"os":"x"},"question":"q","answer":"a"}')[1] == chat("q", "a", system=None) | {
        "system": {"os": "x"}
    }


@pytest.mark.parametrize("number", ["1.0", "1.50", "1e3", "-0.10", "12345678901234567.25", "7", "true", "false"])
def test_numbers_and_truth_values_are_as_the_file_writes_them(number: str) -> None:
    for line in (f'{{"question":"q","answer":{number}}}', f'{{"data":{{"q":"q","a":[{number}]}}}}'):
        named = {} if "answer" in line else {"question": "data.q", "answer": "data.a.0"}
        assert read(line, **named)[1]["messages"][1]["content"] == number
    sharegpt = f'{{"conversations":[{{"from":"human","value":{number}}},{{"from":"gpt","value":"a"}}]}}'
    assert read(sharegpt)[1]["messages"][0]["content"] == number


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text":"x"}', "no shape that is known: the columns are text;"),
        ('{"frage":"x","antwort":"y","n":1}', "--columns question=frage answer=antwort"),
        ('{"question":"q","answer":"a","ground_truth":"b"}', "answer and ground_truth may both be the answer"),
        ('{"question":"q","Question":"r","answer":"a"}', "question and Question may both be the question"),
        ('{"prompt":"q","chosen":"a","rejected":"b"}', "--columns question=prompt answer=chosen"),
        ('{"data":{"my question":"q","a":"a"}}', "--columns question='data.my question' answer=data.a"),
        (
            '{"context":"c","question":"q","answers":{"text":["a"],"answer_start":[0]}}',
            "--columns question=question answer=answers.text.0",
        ),
        ('{"question":"q","answer":["a","b"]}', 'answer must be a text or a number: ["a", "b"]'),
        ('{"conversations":[{"user":"q"}]}', "the columns are conversations;"),
        ("{}", "the columns are none"),
    ],
)
def test_what_has_no_shape_or_two_is_refused_with_the_flag_to_type(line: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(line)
    assert said in str(caught.value)


def test_named_columns_win_and_one_that_is_missing_is_named() -> None:
    line = '{"question":"q","answer":"a","ground_truth":"b","dialogue":[{"from":"human","value":"x"}]}'
    assert read(line, answer="ground_truth")[1]["messages"][1]["content"] == "b"
    assert read(line, messages="dialogue")[0] == "ShareGPT: dialogue[].from/value"
    with pytest.raises(ValueError, match="there is no column reply: the columns are question, answer"):
        read(line, answer="reply")
    with pytest.raises(ConfigError, match=r"--columns reply=x: write NAME=COLUMN, NAME one of question, answer"):
        Columns.of({"reply": "x"})
    with pytest.raises(ConfigError, match="messages are question and answer"):
        Columns.of({"messages": "x", "answer": "y"})


@pytest.mark.parametrize("role", ["tool", "function_call", "bing", "Human", None, 3])
def test_an_odd_role_of_sharegpt_is_refused_by_name(role: object) -> None:
    _, row = as_chat({"conversations": [{"from": role, "value": "x"}, {"from": "gpt", "value": "y"}]}, Columns())
    assert next(breaches(row)).startswith("message 1: role must be system, user or assistant: ")


def test_several_shapes_in_a_file_are_counted_each() -> None:
    reader = ShapeReader(Columns())
    rows = [chat("q", "a"), {"query": "q", "response": "a"}, {"query": "q", "response": "a"}, {"text": "x"}]
    list(reader.chats(LocatedRow("a.jsonl", number, row) for number, row in enumerate(rows, start=1)))
    assert reader.read_as["a.jsonl"] == {
        "chats: messages[].role/content": 1,
        "pairs: question = query, answer = response": 2,
    }


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, str]]:
    turns = draw(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
    system = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    spoken = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in turns]
    return system + [message for turn in spoken for message in turn]


def written(messages: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the chat in every shape that can hold it."""
    names = {"user": "human", "assistant": "gpt"}
    sharegpt = [{"from": names.get(m["role"], m["role"]), "value": m["content"]} for m in messages]
    rows: list[dict[str, Any]] = [
        {"messages": messages},
        {"Messages": json.dumps(messages)},
        {"conversations": sharegpt},
        {"conversation": json.dumps(sharegpt)},
        {"conversations": [{**m, "name": None} for m in messages]},
        {"prompt": messages[:-1], "completion": messages[-1:]},
    ]
    system = {"system": messages[0]["content"]} if messages[0]["role"] == "system" else {}
    rest = messages[len(system) :]
    rows.append({"conversations": sharegpt[len(system) :], **system})
    if len(rest) == 2:
        question, answer = (message["content"] for message in rest)
        rows += [{q: question, a: answer, **system} for q in QUESTION_COLUMNS for a in ANSWER_COLUMNS]
        rows += [{"instruction": question, "input": "", "output": answer, **system}]
    return rows


@given(messages=chats(), columns=st.dictionaries(st.sampled_from(["id", "category", "context"]), TEXTS | st.integers()))
def test_a_chat_is_the_same_whatever_shape_it_was_written_in(
    messages: list[dict[str, str]], columns: dict[str, Any]
) -> None:
    for row in written(messages):
        assert as_chat(row | columns, Columns())[1] == {"messages": messages, **columns}


@given(
    first=st.sampled_from(ANSWER_COLUMNS),
    second=st.sampled_from(ANSWER_COLUMNS),
    question=st.sampled_from(QUESTION_COLUMNS),
)
def test_two_answers_are_never_chosen_between(first: str, second: str, question: str) -> None:
    row = {question: "q", first: "a", second: "b"}
    if first == second:
        assert as_chat(row, Columns())[1] == chat("q", "b")
        return
    with pytest.raises(ValueError, match="may both be the answer"):
        as_chat(row, Columns())


EARLIER = [
    {"role": "user", "content": "p"},
    {"role": "assistant", "content": "b", "weight": 0},
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
]


@pytest.mark.parametrize(
    ("column", "history"),
    [
        ("chat_history", [{"inputs": {"question": "p"}, "outputs": {"answer": "b"}}]),
        ("chat_history", [{"inputs": {"chat_input": "p"}, "outputs": {"reply": "b"}}]),
        ("chat_history", json.dumps([{"inputs": {"question": "p", "topic": "x"}, "outputs": {"output": "b"}}])),
        ("Chat History", [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}]),
        ("chat_history", [{"question": "p", "answer": "b"}]),
        ("history", [["p", "b"]]),
        ("history", [{"from": "human", "value": "p"}, {"from": "gpt", "value": "b"}]),
    ],
)
def test_the_turns_before_the_question_are_read_and_not_learnt(column: str, history: object) -> None:
    shape, row = as_chat({"question": "q", column: history, "answer": "a", "level": 2}, Columns())
    assert row == {"messages": EARLIER, "level": 2}
    assert shape == f"pairs: question = question, answer = answer, turns before it = {column}"
    assert not [*breaches(row)]


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ("they spoke of kettles", "chat_history is no list of turns"),
        ({"visits": 3}, "chat_history is no list of turns"),
        ([{"visits": 3}], "chat_history: turn 1 is no question and answer"),
        ([["p"]], "chat_history: turn 1 is no question and answer"),
        ([{"inputs": {"a": "p", "b": "r"}, "outputs": {"answer": "b"}}], "turn 1: the question is not known: .* a, b"),
        ([{"inputs": {"question": ["p"]}, "outputs": {"answer": "b"}}], "turn 1: the question, question, must be"),
    ],
)
def test_a_chat_history_that_cannot_be_read_refuses_the_row(history: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_chat({"question": "q", "chat_history": history, "answer": "a"}, Columns())


@pytest.mark.parametrize("history", [None, [], "", "of the kettle", {"visits": 3}, [{"visits": 3}], ["one", "two"]])
def test_a_history_of_something_else_stays_a_column(history: object) -> None:
    shape, row = as_chat({"question": "q", "history": history, "answer": "a"}, Columns())
    assert (len(row["messages"]), row["history"]) == (2, history)
    assert shape.endswith(", history read as no turns") == bool(history)


@pytest.mark.parametrize(
    "history", [[["p7"]], [["p", "pa"], ["p2"]], [{"question": "p"}], [{"inputs": {"question": "p"}}]]
)
def test_a_history_with_half_a_turn_refuses_the_row(history: object) -> None:
    with pytest.raises(ValueError, match="history: turn "):
        as_chat({"question": "q", "history": history, "answer": "a"}, Columns())


@pytest.mark.parametrize("column", ["chatHistory", "ChatHistory", "Chat History", "chat-history", "HISTORY"])
def test_the_turns_before_are_known_however_their_column_is_spelled(column: str) -> None:
    shape, row = as_chat({"groundTruth": "a", "userId": 1, "question": "q", column: [["p", "pa"]]}, Columns())
    assert [message["content"] for message in row["messages"]] == ["p", "pa", "q", "a"]
    assert shape == f"pairs: question = question, answer = groundTruth, turns before it = {column}"


def test_a_completion_that_is_labelled_false_is_no_answer() -> None:
    assert (
        as_chat({"prompt": "q", "completion": "a", "label": True}, Columns())[1]["messages"]
        == chat("q", "a")["messages"]
    )
    with pytest.raises(ValueError, match="label is false: the completion is marked as one not to learn from"):
        as_chat({"prompt": "q", "completion": "a", "label": False}, Columns())
