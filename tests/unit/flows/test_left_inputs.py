"""Inputs that nothing reaches: refused with the mapping to type, warned of, or left to their default in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from phi3flow.errors import ColumnMappingError
from phi3flow.flows.column_mapping import complete_mapping
from phi3flow.flows.inputs import FlowInput

CHAT = {
    "chat_history": {"type": "list", "default": [], "is_chat_history": True},
    "question": {"type": "string", "default": "Who founded Microsoft?", "is_chat_input": True},
    "temperature": {"type": "double", "default": 0.7},
    "max_new_tokens": {"type": "int", "default": 128},
}
TEXT = {"text": {"type": "string"}}
RUN = ["run.outputs", "data", "run.inputs"]


def sample(default: Any) -> dict[str, Any]:
    return {"type": "string", "default": default}


def _complete(
    inputs: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str] | Mapping[str, Sequence[str]],
    mapping: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return complete_mapping(
        mapping or {},
        inputs={name: FlowInput.declared(name, body) for name, body in inputs.items()},
        columns=columns if isinstance(columns, Mapping) else {"data": columns},
        where="flow",
    )


REFUSED: list[tuple[dict[str, Any], Any, str]] = [
    (CHAT, ["prompt", "ground_truth"], "question='${data.prompt}'"),
    (CHAT, ["ground_truth", "Question"], "question='${data.Question}'"),
    (CHAT, ["quesion", "prompt"], "question='${data.quesion}'"),
    (CHAT, ["text", "label", "line_id"], "question='${data.text}'"),
    (CHAT, ["user_question_text", "a", "b"], "question='${data.user_question_text}'"),
    (CHAT, ["a", "b"], "question='${data.COLUMN}'"),
    (CHAT, ["temperature", "chat_history"], "question='${data.COLUMN}'"),
    (CHAT, ["the user's prompt"], """question='${data.the user'"'"'s prompt}'"""),
    (CHAT | {"question": sample("") | {"is_chat_input": True}}, ["prompt"], "question='${data.prompt}'"),
    (CHAT | {"question": {"type": "list", "default": [], "is_chat_input": True}}, ["p"], "question='${data.p}'"),
    (CHAT, ["question", "Temperature"], "temperature='${data.Temperature}'"),
    (CHAT, ["question", "chatHistory"], "chat_history='${data.chatHistory}'"),
    ({"question": sample("Who?"), **TEXT}, ["text", "prompt"], "question='${data.prompt}'"),
    ({"question": sample("Who?"), **TEXT}, ["text"], "question='${data.COLUMN}'"),
    ({"text": sample("Hello World!")}, ["prompt"], "text='${data.prompt}'"),
    ({"text": sample("")}, ["prompt"], "text='${data.prompt}'"),
    ({"text": sample("Hello World!"), "temperature": CHAT["temperature"]}, ["prompt", "temperature"], "text="),
    (CHAT | {"context": sample("")}, ["prompt"], "question='${data.prompt}' ("),
    ({"past": {"type": "list", "default": []}, "message": sample("Hi")}, ["prompt"], "message='${data.prompt}' ("),
    ({"topic": sample("cats"), **TEXT}, ["text", "Topic"], "topic='${data.Topic}'"),
    ({"context": sample(""), **TEXT}, ["text", "Context"], "context='${data.Context}'"),
    (
        {"groundtruth": sample("APP"), "prediction": sample("APP")},
        {"run.outputs": ["category"], "data": ["url", "answer"], "run.inputs": ["url"]},
        "groundtruth='${data.COLUMN}' prediction='${data.answer}'",
    ),
    (
        {"groundtruth": sample("APP"), "answer": {"type": "string"}},
        {"run.outputs": ["answer"], "data": ["question", "expected"]},
        "groundtruth='${data.expected}'",
    ),
]


@pytest.mark.parametrize(("inputs", "columns", "flag"), REFUSED)
def test_a_default_that_is_no_data_is_refused_with_the_mapping_to_type(inputs, columns, flag) -> None:
    with pytest.raises(ColumnMappingError) as caught:
        _complete(inputs, columns)
    message = str(caught.value)
    assert message.startswith("flow: ")
    assert f"--column-mapping {flag}" in message
    names = [name for own in columns.values() for name in own] if isinstance(columns, dict) else columns
    assert all(f".{name}}}" in message for name in names), "it lists the columns that there are"


SILENT: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    (CHAT, ["question", "ground_truth", "context", "values", "line_id", "conversation_id", "category"], {}),
    (CHAT, ["prompt", "ground_truth"], {"question": "${data.prompt}"}),
    (CHAT, ["prompt", "ground_truth"], {"question": "Who founded Microsoft?"}),
    ({"text": sample("Hello World!")}, ["prompt"], {"text": "Hello World!"}),
    ({"question": sample("Who?"), "text": sample("a")}, ["prompt"], {"question": "Who?", "text": "${data.prompt}"}),
    ({"system": sample("Be brief."), **TEXT}, ["text", "ground_truth", "line_id"], {}),
    ({"context": sample(""), **TEXT}, ["text", "ground_truth", "category"], {}),
    ({}, ["prompt"], {}),
]


@pytest.mark.parametrize(("inputs", "columns", "mapping"), SILENT)
def test_what_the_data_or_the_mapping_gives_and_what_sets_something_is_not_nagged_about(
    inputs, columns, mapping, caplog
) -> None:
    _complete(inputs, columns, mapping)
    assert caplog.text == ""


WARNED: list[tuple[dict[str, Any], Any, str]] = [
    ({"context": sample(""), **TEXT}, ["text", "documents"], "context='${data.documents}'"),
    ({"ground_truth": sample(""), "answer": {}}, {"run.outputs": ["answer"], "data": ["expected"]}, "${data.expected}"),
    ({"url": sample("https://example.org"), **TEXT}, ["text", "link"], "url='${data.link}'"),
    ({"url": sample("https://example.org"), **TEXT}, ["text", "link", "topic"], "${data.link}, ${data.topic}"),
    ({"seed": {"type": "int", "default": 1}}, ["x", "y"], "no column reaches the flow"),
    (CHAT, ["question", "temperatures"], "temperature='${data.temperatures}'"),
    (CHAT, ["question", "history"], "chat_history='${data.history}'"),
    ({"url": sample("a"), **TEXT}, ["text", "l\u202eink\x1b"], "⟨U+202E⟩"),
]


@pytest.mark.parametrize(("inputs", "columns", "part"), WARNED)
def test_what_is_less_sure_is_said_once(inputs, columns, part, caplog) -> None:
    _complete(inputs, columns)
    (record,) = caplog.records
    assert part in record.getMessage()


def test_an_input_that_nothing_in_the_flow_takes_is_not_spoken_of(caplog) -> None:
    inputs = {"answer": FlowInput("string"), "question": FlowInput("string", "Who?", has_default=True, is_read=False)}
    complete_mapping({}, inputs=inputs, columns={"run.outputs": ["answer"], "data": ["prompt"]}, where="flow")
    assert caplog.text == ""


def test_a_default_that_is_null_is_none() -> None:
    with pytest.raises(ColumnMappingError, match="it has no default"):
        _complete({"question": {"type": "string", "default": None}}, ["prompt"])
