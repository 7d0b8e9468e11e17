"""YAML is read as promptflow reads it, and changed without a change to anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.records.yaml_text import YamlError, change_yaml, dump_yaml, parse_yaml
from tests.support.yaml_scalars import LOOKS

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
contents = st.dictionaries(
    st.text(min_size=1),
    st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner), max_leaves=8),
)


@pytest.mark.parametrize("look", LOOKS)
def test_a_scalar_is_what_promptflow_reads(look: str) -> None:
    from promptflow._utils.yaml_utils import load_yaml_string

    (ours,), theirs = parse_yaml(f"- {look}\n"), load_yaml_string(f"- {look}\n")[0]
    assert ours == theirs or (ours != ours and theirs != theirs), "also nan is nan"
    assert type(ours) in type(theirs).__mro__
    assert "ruamel" not in type(ours).__module__


def test_yes_is_a_text_and_a_quoted_number_stays_one() -> None:
    assert parse_yaml('when: yes\nzip: "09123"\nversion: 1.10\nmode: 0o17\n') == {
        "when": "yes",
        "zip": "09123",
        "version": 1.1,
        "mode": 15,
    }


@given(contents)
def test_what_is_dumped_is_read_back(content: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(content)) == content


def test_a_change_leaves_all_else_as_it_is_written() -> None:
    text = '# about\nzip: "09123"  # quoted\nwhen: yes\nlong: ' + "word " * 60 + "end\nnode: {connection: a}\n"

    def change(content: Any) -> None:
        content["node"]["connection"] = "b"

    assert change_yaml(text, change) == text.replace("connection: a", "connection: b")


def test_what_is_anchored_is_shared() -> None:
    content = parse_yaml("first: &one [1]\nsecond: *one\n")
    assert content["first"] is content["second"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: [1\n", 3, "expected ',' or ']'"),
        ("a: 1\na: sk-secret\n", 2, 'found duplicate key "a"'),
        ("a: 2024-13-01\n", None, "month must be in 1..12"),
        ("a: 1\n\t- x\n", 2, "cannot start any token"),
        ("--- 1\n--- 2\n", 2, "but found another document"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line_and_no_value(text: str, line: int | None, problem: str) -> None:
    with pytest.raises(YamlError, match="^[^\n]+$") as caught:
        parse_yaml(text)
    assert problem in str(caught.value)
    assert caught.value.line == line
    assert "sk-secret" not in str(caught.value)
