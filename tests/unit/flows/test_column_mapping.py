"""Column mappings: the value that each input of a flow gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import ColumnMappingError
from phi3flow.flows.column_mapping import complete_mapping, map_inputs, map_line
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.left_inputs import optional_inputs

TEXT = FlowInput("string")
NAMES = st.text("abcdefgh_.", min_size=1, max_size=8).filter(lambda name: not name.startswith("."))


def test_an_unmapped_input_takes_the_column_of_its_name() -> None:
    mapping = complete_mapping({}, inputs={"question": TEXT}, columns={"data": ["question"]}, where="f")
    assert mapping == {"question": "${data.question}"}


def test_outputs_of_a_run_come_before_its_data() -> None:
    columns = {"run.outputs": ["answer"], "data": ["answer"]}
    assert complete_mapping({}, inputs={"answer": TEXT}, columns=columns, where="f") == {
        "answer": "${run.outputs.answer}"
    }


def test_a_reference_to_an_absent_column_names_the_columns_there_are() -> None:
    with pytest.raises(
        ColumnMappingError, match=r"f: column_mapping.question refers to \$\{data.query\}; the columns are "
    ):
        complete_mapping(
            {"question": "${data.query}"}, inputs={"question": TEXT}, columns={"data": ["question"]}, where="f"
        )


def test_a_mapping_to_no_input_is_refused() -> None:
    with pytest.raises(ColumnMappingError, match="column_mapping.querstion names no input of the flow"):
        complete_mapping(
            {"querstion": "x"},
            inputs={"question": FlowInput("string", "x", has_default=True)},
            columns={"data": []},
            where="f",
        )


def test_an_input_without_value_says_what_to_type() -> None:
    for column, reference in {"prompt": "prompt", "line_id": "COLUMN"}.items():
        with pytest.raises(ColumnMappingError, match=rf"--column-mapping question='\$\{{data.{reference}\}}'"):
            complete_mapping({}, inputs={"question": TEXT}, columns={"data": [column]}, where="f")


def test_an_input_with_a_default_may_lack_its_column_in_one_line() -> None:
    mapping = {"history": "${data.history}", "question": "${data.question}"}
    assert map_line(mapping, {"data": {"question": "q"}}, optional=["history"]) == {"question": "q"}
    with pytest.raises(ColumnMappingError, match="which this line does not have"):
        map_line(mapping, {"data": {"history": []}}, optional=["history"])


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        ({"type": "string", "default": "Who?", "is_chat_input": True}, None, "fails"),
        ({"type": "string", "default": "", "is_chat_input": True}, None, "fails"),
        ({"type": "string", "default": "Who?", "is_chat_input": True}, "", ""),
        ({"type": "list", "default": ["Who?"], "is_chat_input": True}, [], []),
        ({"type": "string"}, None, "fails"),
        ({"type": "string", "default": "https://example.org"}, None, "fails"),
        ({"type": "object", "default": {"a": 1}}, None, "fails"),
        ({"type": "string", "default": ""}, None, "default"),
        ({"type": "string", "default": " "}, None, "default"),
        ({"type": "object"}, None, None),
        ({"type": "int"}, None, None),
        ({"type": "int", "default": 3}, None, "default"),
        ({"type": "bool", "default": False}, None, "default"),
        ({"type": "list", "default": []}, None, "default"),
        ({"type": "double", "default": 0.7}, 0, 0),
    ],
)
def test_what_a_line_gives_an_input_is_its_value_or_a_failure(declared, value, expected) -> None:
    inputs, row = {"x": FlowInput.declared("x", declared)}, {"data": {"x": value}}
    optional = optional_inputs(inputs)
    if expected == "fails":
        with pytest.raises(ColumnMappingError, match=r"x is null in this line \(\$\{data.x\}\)"):
            map_inputs({"x": "${data.x}"}, row, inputs, optional=optional)
    else:
        assert map_inputs({"x": "${data.x}"}, row, inputs, optional=optional) == (
            {} if expected == "default" else {"x": expected}
        )


@pytest.mark.parametrize("row", [{"question": "q", "url": "u"}, {"question": "q", "url": "u", "style": None}])
def test_a_sample_stands_in_for_what_is_neither_asked_nor_scored_where_the_flow_says_what_is(row) -> None:
    url, style = (
        FlowInput("string", "https://example.org", has_default=True),
        FlowInput("string", "a", has_default=True),
    )
    mapping = {"url": "${data.url}", "style": "${data.style}"}
    inputs = {"url": url, "style": style}
    with pytest.raises(ColumnMappingError, match="style"):
        map_inputs(mapping, {"data": row}, inputs, optional=optional_inputs(inputs))
    inputs, mapping = {"question": TEXT, **inputs}, {"question": "${data.question}", **mapping}
    mapped = map_inputs(mapping, {"data": row}, inputs, optional=optional_inputs(inputs))
    assert mapped == {"question": "q", "url": "u"}


@pytest.mark.parametrize(
    "text",
    [
        "prompt",
        " prompt ",
        "data.prompt",
        "{data.prompt}",
        "{{ data.prompt }}",
        "\uff04{data.prompt}",
        "",
        "  ",
        "$data.x",
    ],
)
@pytest.mark.parametrize("question", ["question", "q"])
def test_a_question_that_is_a_misspelt_column_is_refused(text: str, question: str) -> None:
    inputs = {question: FlowInput("string", "Who?", has_default=True, is_chat_input=True), "style": TEXT}
    with pytest.raises(ColumnMappingError, match=f"f: column_mapping.{question} is the text "):
        complete_mapping({question: text, "style": "x"}, inputs=inputs, columns={"data": ["prompt"]}, where="f")


@pytest.mark.parametrize("text", ["data.prompt", "{data.prompt}", "run.outputs.answer", "x ${data.prompt}"])
def test_a_text_with_a_column_in_it_is_refused_for_any_input(text: str) -> None:
    columns = {"data": ["prompt"], "run.outputs": ["answer"]}
    with pytest.raises(ColumnMappingError, match="f: column_mapping.style is the text "):
        complete_mapping({"style": text}, inputs={"style": TEXT}, columns=columns, where="f")


def test_a_text_that_is_a_columns_name_is_warned_of_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    for text, warned in (("topic", True), ("short", False), ("metadata.prompts", False), ("mydata.topical", False)):
        caplog.clear()
        mapping = {"style": text, "q": "${data.q}"}
        inputs = {"style": TEXT, "q": TEXT}
        assert complete_mapping(mapping, inputs=inputs, columns={"data": ["q", "topic"]}, where="f") == mapping
        assert ("and the name of a column, which is '${data.topic}'" in caplog.text) == warned


@pytest.mark.parametrize("default", [{"default": "Who?"}, {"default": ""}, {}])
def test_a_null_in_the_mapping_is_no_question(default) -> None:
    inputs = {"question": FlowInput.declared("question", {"is_chat_input": True, **default})}
    with pytest.raises(ColumnMappingError, match="column_mapping.question is null: give it a column or a value"):
        complete_mapping({"question": None}, inputs=inputs, columns={"data": ["question"]}, where="f")


@given(st.dictionaries(NAMES, st.integers(), min_size=1, max_size=5))
def test_every_column_can_be_referred_to_whatever_dots_it_holds(row: dict[str, int]) -> None:
    mapping = {name: f"${{data.{name}}}" for name in row}
    assert map_line(mapping, {"data": row, "run.outputs": {}}) == row


@given(st.text().filter(lambda text: not text.startswith("${")))
def test_what_is_no_reference_is_a_literal(text: str) -> None:
    assert map_line({"question": text}, {"data": {}}) == {"question": text}
