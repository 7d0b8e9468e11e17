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
    with pytest.raises(ConfigError, match="--x: question is given twice"):
        parse_pairs(["question=${data.q}", "question=x"], flag="--x")


def test_run_yml_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text("flow: .\ndata: lines.jsonl\ncolumn_mapping:\n  question: ${data.q}\n", encoding="utf-8")
    config = load_run_config(file)
    assert config.data == str(tmp_path / "lines.jsonl")
    assert config.column_mapping == {"question": "${data.q}"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("column_maping: {}", "column_maping: there is no such field; column_mapping is one"),
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


def test_fields_of_no_meaning_here_are_named_and_left(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text(
        "$schema: s\nname: n\ndisplay_name: d\ndescription: d\ntags: {a: b}\nproperties: {a: b}\nruntime: auto\n"
        "resources: {instance_type: x}\nidentity: {type: managed}\nowner: me\ninit:\nconnections:\n",
        encoding="utf-8",
    )
    config = load_run_config(file)
    assert config.name == "n"
    others = ["display_name", "description", "tags", "properties", "runtime", "resources", "identity", "owner"]
    assert config.ignored == others


def test_environment_and_init_may_be_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nexport B='two words'\nC\n# no\n", encoding="utf-8")
    (tmp_path / "init.json").write_text('{"k": 3}', encoding="utf-8")
    (tmp_path / "init.jsonl").write_text('{"k": 4}\n{"k": 5}\n', encoding="utf-8")
    for name, k in (("init.json", 3), ("init.jsonl", 4)):
        file = tmp_path / "run.yml"
        file.write_text(f"environment_variables: .env\ninit: {name}\n", encoding="utf-8")
        config = load_run_config(file)
        assert config.environment_variables == {"A": "1", "B": "two words"}
        assert config.init == {"k": k}


@pytest.mark.parametrize("content", ["environment_variables: no.env", "init: no.json"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.yml: .*no\.(env|json) cannot be read"):
        load_run_config(file)


def test_a_run_of_a_run_is_scored(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text("flow: eval\nrun: base\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="phi3flow score base --flow eval"):
        load_run_config(file)
