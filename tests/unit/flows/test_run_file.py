"""Run files: pairs as pf reads them, and paths relative to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.errors import ConfigError
from phi3flow.flows.run_file import load_run_config, parse_pairs


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
