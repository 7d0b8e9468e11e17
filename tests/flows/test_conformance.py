"""benchmarks/conformance.py over a small folder: what is equal under pf and phi3flow, what differs, and no folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "conformance.py"
TELLS_WHO_RUNS_IT = """
import sys
from promptflow.core import tool

@tool
def ask(question: str) -> str:
    return "phi3flow" if "phi3flow" in sys.modules else "pf"
"""
GRADE = """
from promptflow.core import tool

@tool
def ask(question: str) -> float:
    if question == "third":
        raise KeyError(question)
    return len(question) / 10
"""
MEAN = """
from promptflow.core import log_metric, tool

@tool
def mean(grades: list) -> None:
    log_metric("grade", sum(grades) / len(grades))
"""


def _run(*arguments: object) -> str:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _write_evaluation(folder: Path) -> None:
    flow = write_flow(folder, GRADE, files={"mean.py": MEAN})
    dag = yaml.safe_load((flow / "flow.dag.yaml").read_text(encoding="utf-8"))
    source = {"type": "code", "path": "mean.py"}
    mean = {"name": "mean", "type": "python", "source": source, "inputs": {"grades": "${ask.output}"}}
    dag["nodes"].append({**mean, "aggregation": True})
    (flow / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    write_lines(flow / "data.jsonl", [{"question": text} for text in ("first", "second", "third")])


def _write_model_flow(folder: Path) -> None:
    dag = {
        "inputs": {"question": {"type": "string", "default": "Who?"}},
        "outputs": {"answer": {"type": "string", "reference": "${ask.output}"}},
        "nodes": [
            {
                "name": "ask",
                "type": "llm",
                "source": {"type": "code", "path": "ask.jinja2"},
                "inputs": {"deployment_name": "gpt-4", "question": "${inputs.question}"},
                "connection": "azure_open_ai_connection",
                "api": "chat",
            }
        ],
    }
    folder.mkdir(parents=True)
    (folder / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    (folder / "ask.jinja2").write_text("user:\n{{question}}\n", encoding="utf-8")


@pytest.mark.slow
def test_the_page_says_what_is_equal_and_what_differs(tmp_path):
    flows = tmp_path / "checkout" / "examples" / "flows"
    write_flow(flows / "echo", ECHO)
    write_flow(flows / "tells", TELLS_WHO_RUNS_IT)
    write_flow(flows / "lacks", f"import no_such_package\n{ECHO}")
    _write_evaluation(flows / "grade")
    _write_model_flow(flows / "model")
    before = sorted((tmp_path / "checkout").rglob("*"))
    printed = _run(tmp_path / "checkout", "--output", tmp_path / "page.md")
    assert "5 runs, 1 differ" in printed
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    rows = {
        cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in page.splitlines() if " | " in line)
    }
    assert rows["flows/echo"][1:3] == ["1", "equal"]
    assert rows["flows/model"][1:5] == ["1", "equal", "", "1"]
    assert rows["flows/grade"][0:4] == ["data.jsonl", "3, 1 failed", "equal", "1 equal"]
    assert rows["flows/lacks"][2] == "needs no_such_package"
    assert rows["flows/tells"][2] == "differs"
    assert rows["flows/tells"][5] == "**line 0: answer: 'pf' by pf, 'phi3flow' by phi3flow**"
    assert rows["examples"] == ["5", "3", "0", "0", "1", "0", "1"]
    assert str(tmp_path) not in page
    assert sorted((tmp_path / "checkout").rglob("*")) == before


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_a_checkout_nothing_is_run(tmp_path, folder):
    arguments = [tmp_path / folder] if folder else []
    assert _run(*arguments, "--output", tmp_path / "page.md").startswith("NOT RUN")
    assert not (tmp_path / "page.md").exists()


def test_a_word_that_no_flow_has_leaves_the_page_as_it_is(tmp_path):
    write_flow(tmp_path / "checkout" / "examples" / "flows" / "echo", ECHO)
    page = tmp_path / "page.md"
    page.write_text("kept", encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "checkout"), "--output", str(page), "--only", "zzzz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, page.read_text(encoding="utf-8")) == (2, "kept")
    assert "has a name with zzzz" in done.stderr


def test_lanes_that_cannot_begin_leave_the_page_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "path" / "keyrings").mkdir(parents=True)
    (tmp_path / "path" / "keyrings" / "__init__.py").touch()  # in which there is no keyrings.alt
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    write_flow(tmp_path / "checkout" / "examples" / "flows" / "echo", ECHO)
    page = tmp_path / "page.md"
    page.write_text("kept", encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "checkout"), "--output", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, page.read_text(encoding="utf-8")) == (1, "kept")
    assert "pf connection create" in done.stderr
