"""Column mappings and run.yml."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import ColumnMappingError, ConfigError
from phi3flow.flows.column_mapping import complete_mapping, map_line
from phi3flow.flows.run_file import load_run_config, parse_pairs

NAMES = st.text("abcdefgh_.", min_size=1, max_size=8).filter(lambda name: not name.startswith("."))


def test_an_unmapped_input_takes_the_column_of_its_name() -> None:
    mapping = complete_mapping({}, inputs={"question": False}, columns={"data": ["question"]}, where="f")
    assert mapping == {"question": "${data.question}"}


def test_outputs_of_a_run_come_before_its_data() -> None:
    columns = {"run.outputs": ["answer"], "data": ["answer"]}
    assert complete_mapping({}, inputs={"answer": False}, columns=columns, where="f") == {
        "answer": "${run.outputs.answer}"
    }


def test_a_reference_to_an_absent_column_names_the_columns_there_are() -> None:
    with pytest.raises(
        ColumnMappingError, match=r"f: column_mapping.question refers to \$\{data.query\}; the columns are "
    ):
        complete_mapping(
            {"question": "${data.query}"}, inputs={"question": False}, columns={"data": ["question"]}, where="f"
        )


def test_a_mapping_to_no_input_is_refused() -> None:
    with pytest.raises(ColumnMappingError, match="column_mapping.querstion names no input of the flow"):
        complete_mapping({"querstion": "x"}, inputs={"question": True}, columns={"data": []}, where="f")


def test_an_input_without_value_says_what_to_type() -> None:
    with pytest.raises(ColumnMappingError, match=r"--column-mapping question='\$\{data.COLUMN\}'"):
        complete_mapping({}, inputs={"question": False}, columns={"data": ["prompt"]}, where="f")


def test_an_input_with_a_default_may_lack_its_column_in_one_line() -> None:
    mapping = {"history": "${data.history}", "question": "${data.question}"}
    assert map_line(mapping, {"data": {"question": "q"}}, optional=["history"]) == {"question": "q"}
    with pytest.raises(ColumnMappingError, match="which this line does not have"):
        map_line(mapping, {"data": {"history": []}}, optional=["history"])


@given(st.dictionaries(NAMES, st.integers(), min_size=1, max_size=5))
def test_every_column_can_be_referred_to_whatever_dots_it_holds(row: dict[str, int]) -> None:
    mapping = {name: f"${{data.{name}}}" for name in row}
    assert map_line(mapping, {"data": row, "run.outputs": {}}) == row


@given(st.text().filter(lambda text: not text.startswith("${")))
def test_what_is_no_reference_is_a_literal(text: str) -> None:
    assert map_line({"question": text}, {"data": {}}) == {"question": text}


def test_pairs_are_read_as_pf_reads_them() -> None:
    pairs = ["question='${data.q}'", "url=http://127.0.0.1/?a=b", "empty="]
    assert parse_pairs(pairs, flag="--x") == {"question": "${data.q}", "url": "http://127.0.0.1/?a=b", "empty": ""}
    with pytest.raises(ConfigError, match=r"--x: 'flows/chat_phi3' is not key=value"):
        parse_pairs(["flows/chat_phi3"], flag="--x")


def test_run_yml_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text("flow: .\ndata: lines.jsonl\ncolumn_mapping:\n  question: ${data.q}\n", encoding="utf-8")
    config = load_run_config(file)
    assert config.data == str(tmp_path / "lines.jsonl")
    assert config.column_mapping == {"question": "${data.q}"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("column_maping: {}", "column_maping: Extra inputs are not permitted"),
        ("column_mapping: [1]", "column_mapping: Input should be a valid dict"),
        ("data: [", "is not YAML"),
        ("just text", "the file: Input should be a valid dict"),
    ],
)
def test_a_broken_run_yml_names_file_and_key(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "run.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_run_config(file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
