"""Lines that lack a value of a column which others have: their default is said where it is a sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines

TOOL = """
from promptflow.core import tool

@tool
def use(question: str, context: str, temperature: float):
    return f"{context} {temperature}"
"""
DAG = """
inputs:
  question: {type: string, default: "Who founded Microsoft?"}
  context: {type: string, default: "some sample"}
  temperature: {type: double, default: 0.7}
outputs:
  answer: {type: string, reference: "${use.output}"}
nodes:
- name: use
  type: python
  source: {type: code, path: use.py}
  inputs: {question: "${inputs.question}", context: "${inputs.context}", temperature: "${inputs.temperature}"}
"""
EVALUATION = """
inputs:
  answer: {type: string}
  context: {type: string, default: "Paris is the capital."}
outputs:
  score: {type: double, reference: "${grade.output}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {answer: "${inputs.answer}", context: "${inputs.context}"}
"""
GRADE = """
from promptflow.core import tool

@tool
def grade(answer: str, context: str):
    return float("Paris" in context)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, dag, tool, code in (("use", DAG, "use.py", TOOL), ("grade", EVALUATION, "grade.py", GRADE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flow.dag.yaml").write_text(dag, encoding="utf-8")
        (tmp_path / name / tool).write_text(code, encoding="utf-8")
    return tmp_path


def run(project: Path, rows: list[dict[str, Any]], *arguments: str) -> Done:
    write_lines(project / "lines.jsonl", rows)
    return phi3flow("batch-run", "use", "--data", "lines.jsonl", "--name", "one", *arguments, cwd=project)


ROWS = [
    {"question": "a", "context": "real", "temperature": 0.1},
    {"question": "b", "context": None, "temperature": None},
    {"question": "c"},
]
SAID = "'context' is its default 'some sample' in 2 of 3 lines: ${data.context} is empty"


def test_a_sample_that_stands_in_for_some_lines_is_said_and_a_setting_is_not(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(project, ROWS).returncode == 0
    assert (caplog.text.count(SAID), "temperature" in caplog.text) == (1, False)
    answers = [result.outputs for result in RunFolder(project / ".runs" / "one").results()]
    assert answers == [{"answer": "real 0.1"}, {"answer": "some sample 0.7"}, {"answer": "some sample 0.7"}]


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        ([{**row, "context": f"c{n}"} for n, row in enumerate(ROWS)], ()),
        ([{**row, "context": ""} for row in ROWS], ()),
        (ROWS, ("--limit", "1")),
        (ROWS, ("--column-mapping", "context=always this")),
    ],
)
def test_nothing_is_said_where_every_line_that_runs_has_a_value(
    project: Path, rows: list[dict[str, Any]], arguments: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    done = run(project, rows, *arguments)
    assert (done.returncode, caplog.text) == (0, ""), done.stderr


def test_it_is_said_of_what_is_scored_too(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(project, ROWS).returncode == 0
    done = phi3flow("score", ".runs/one", "--flow", "grade", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "'context' is its default 'Paris is the capital.' in 2 of 3 lines: ${data.context} is empty" in caplog.text
    assert json.loads(done.stdout)["metrics"]["grade.score"]["mean"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "text", ["Answer: ${data.prompt}", "$data.prompt", "${ data.prompt", "${{data.prompt}}", "$(run.inputs.prompt)"]
)
def test_a_column_inside_of_a_text_is_refused(project: Path, text: str) -> None:
    done = run(project, [{"prompt": "p", "context": "c"}], "--column-mapping", f"question={text}")
    assert done.returncode == 2
    assert f"column_mapping.question is the text '{text}' in every line: a column is the whole value" in done.stderr
    assert not (project / ".runs").exists()


def test_a_text_with_a_dollar_is_a_text(project: Path) -> None:
    done = run(project, [{"context": "c"}], "--column-mapping", "question=What does $data cost? 5 $ (run by us)")
    assert done.returncode == 0, done.stderr
