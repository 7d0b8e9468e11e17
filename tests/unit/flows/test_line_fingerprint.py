"""What decides a line's execution: everything but the aggregation alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.flows import load_flow
from phi3flow.flows.line_fingerprint import line_fingerprint

DAG = """
inputs: {answer: {type: string}}
outputs: {one: {type: double, reference: '${grade.output.one}'}}
tags: {score_ranges: 'one 0..1'}
nodes:
- {name: grade, type: python, source: {type: code, path: grade.py}, inputs: {answer: '${inputs.answer}'}}
- name: total
  type: python
  source: {type: code, path: total.py}
  inputs: {grades: '${grade.output}'}
  aggregation: true
"""
FILES = {
    "flow.dag.yaml": DAG,
    "grade.py": "import shared\n",
    "total.py": "import shared\n",
    "shared.py": "WEIGHT = 1\n",
    "requirements.txt": "numpy>=1\nnot-installed-here==1\n# a remark\n",
}


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "is_same"),
    [
        ("total.py", "import shared\n# mended\n", True),
        ("flow.dag.yaml", DAG.replace("aggregation: true", "aggregation: true\n  activate: {}"), True),
        ("flow.dag.yaml", DAG.replace("${grade.output}", "${grade.output.one}"), False),
        ("flow.dag.yaml", DAG.replace("0..1", "0..2"), False),
        ("grade.py", "import shared\n# another\n", False),
        ("shared.py", "WEIGHT = 2\n", False),
        ("requirements.txt", "numpy>=1\npandas\n", False),
    ],
)
def test_only_what_the_aggregation_alone_executes_is_left_out(
    flow: Path, name: str, content: str, is_same: bool
) -> None:
    before = line_fingerprint(load_flow(flow))
    (flow / name).write_text(content, encoding="utf-8")
    assert (line_fingerprint(load_flow(flow)) == before) is is_same


def test_the_source_of_an_aggregation_that_another_file_imports_counts(flow: Path) -> None:
    (flow / "grade.py").write_text("from total import something\n", encoding="utf-8")
    before = line_fingerprint(load_flow(flow))
    (flow / "total.py").write_text("something = 2\n", encoding="utf-8")
    assert line_fingerprint(load_flow(flow)) != before
