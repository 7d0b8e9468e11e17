"""Chat flows whose history no column feeds: it is empty where it has no default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_lines

DAG = """
inputs:
  chat_history: {{type: list, is_chat_history: true{default}}}
  question: {{type: string, is_chat_input: true}}
outputs:
  answer: {{type: string, reference: '${{ask.output}}', is_chat_output: true}}
nodes:
- name: ask
  type: python
  source: {{type: code, path: ask.py}}
  inputs: {{question: '${{inputs.question}}', turns: '${{inputs.chat_history}}'}}
"""
TOOL = """
from promptflow.core import tool

@tool
def ask(question: str, turns: list) -> str:
    return f"{question} {turns!r}"
"""
FLEX = "def ask(question: str, chat_history: list) -> str:\n    return f'{question} {chat_history!r}'\n"
TURN = [{"inputs": {"question": "a"}, "outputs": {"answer": "b"}}]


def _answers(folder: Path, rows: list[dict[str, object]]) -> list[str]:
    write_lines(folder / "data.jsonl", rows)
    done = phi3flow("batch-run", "flow", "--data", "data.jsonl", "--name", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    results = RunFolder(folder / ".runs" / "run").results()
    return [next(iter((result.outputs or {}).values())) for result in results]


@pytest.mark.parametrize(("default", "history"), [("", "[]"), (", default: []", "[]"), (", default: [1]", "[1]")])
def test_a_history_that_nobody_feeds_is_its_default_or_empty(tmp_path: Path, default: str, history: str) -> None:
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "flow.dag.yaml").write_text(DAG.format(default=default), encoding="utf-8")
    (tmp_path / "flow" / "ask.py").write_text(TOOL, encoding="utf-8")
    rows = [{"question": "hi"}, {"question": "du", "chat_history": TURN}]
    assert _answers(tmp_path, rows) == [f"hi {history}", f"du {TURN!r}"]


def test_so_is_that_of_a_flex_flow(tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "flow.flex.yaml").write_text("entry: ask:ask\n", encoding="utf-8")
    (tmp_path / "flow" / "ask.py").write_text(FLEX, encoding="utf-8")
    assert _answers(tmp_path, [{"question": "hi"}]) == ["hi []"]
    manifest = json.loads((tmp_path / ".runs" / "run" / "manifest.json").read_bytes())
    assert manifest["column_mapping"] == {"question": "${data.question}"}
