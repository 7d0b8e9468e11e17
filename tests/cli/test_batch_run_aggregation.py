"""phi3flow batch-run of a flow with an aggregation: executed once, over all completed lines, whenever they ran."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines

LINES = 5
ASK = """
from promptflow.core import tool

@tool
def ask(question: str) -> dict:
    if question == "q3":
        raise ValueError("no")
    return {"answer": question.upper(), "size": (len(question), 1.0)}
"""
TOTAL = """
from promptflow.core import log_metric, tool

@tool
def total(answers: list, questions: list) -> None:
    assert [answer["answer"] for answer in answers] == [question.upper() for question in questions]
    assert all(isinstance(answer["size"], tuple) for answer in answers)
    log_metric("answers", len(answers))
    log_metric("label", "excellent")
    log_metric("ratio", float("nan"))
"""
FAILS = """
from promptflow.core import log_metric, tool

@tool
def fails(answers: list, after: object) -> None:
    log_metric("begun", 1)
    raise KeyError("size")
"""
COUNT = """
from promptflow.core import log_metric, tool

@tool
def count(questions: list = ()) -> None:
    log_metric("lines", len(questions))
"""
MAPPING = ("--column-mapping", "question=${run.outputs.answer}")
AGGREGATED = """
from dataclasses import dataclass

@dataclass
class Answer:
    answer: str
    span: tuple

class Ask:
    def __call__(self, question: str):
        return {returned}

    def __aggregate__(self, lines: list) -> dict:
        return {{"seen": all({seen} for line in lines), "lines": len(lines)}}
"""


class Project:
    """A folder with the flow and its data; the run is .runs/run."""

    def __init__(self, folder: Path, *, total: str = TOTAL, lines: int = LINES) -> None:
        self.folder = folder
        self.flow = folder / "flow"
        self.flow.mkdir()
        (self.flow / "flow.dag.yaml").write_text(yaml.safe_dump(_DAG, sort_keys=False), encoding="utf-8")
        (self.flow / "ask.py").write_text(ASK, encoding="utf-8")
        (self.flow / "total.py").write_text(total, encoding="utf-8")
        write_lines(folder / "lines.jsonl", ({"question": f"q{number}"} for number in range(lines)))

    def run(self, *flags: object, flow: str = "flow") -> Done:
        command = ("batch-run", flow, "--data", "lines.jsonl", "--name", "run", *flags)
        return phi3flow(*command, cwd=self.folder)

    @property
    def folder_of_run(self) -> RunFolder:
        return RunFolder(self.folder / ".runs" / "run")

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder_of_run.path / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_aggregation_is_executed_over_the_completed_lines_and_shown(project):
    done = project.run()
    assert done.returncode == 1  # line 3
    assert "metrics: answers 4, label excellent, ratio NaN" in done.stdout
    assert project.metrics == {"answers": 4, "label": "excellent", "ratio": "NaN"}
    summary = json.loads(project.run("--json").stdout)
    assert summary["metrics"] == {"answers": 4, "label": "excellent", "ratio": "NaN"}
    assert summary["aggregation"] == {"lines": 4, "error": None}


def test_lines_of_an_earlier_opening_are_aggregated_too(project):
    project.run("--limit", 2)
    assert project.metrics["answers"] == 2
    project.run("--workers", 2)
    assert project.metrics["answers"] == 4


def test_an_aggregation_that_fails_costs_no_answer_and_is_tried_again(project, monkeypatch):
    (project.flow / "total.py").write_text(
        TOTAL.replace("log_metric(", "import os; os.environ['MENDED']; log_metric(", 1)
    )
    write_lines(project.folder / "lines.jsonl", [{"question": "q0"}])
    done = project.run()
    assert done.returncode == 1
    assert "the aggregation failed: KeyError: 'MENDED'; the answers are kept" in done.stdout
    manifest = project.folder_of_run.manifest
    assert (manifest.status, manifest.counts.completed) == ("Completed", 1)
    assert project.metrics == {}
    monkeypatch.setenv("MENDED", "1")
    done = project.run()
    assert done.returncode == 0
    assert project.metrics["answers"] == 1


def test_what_was_logged_before_an_aggregation_failed_stays(project):
    """As under pf: of several aggregations one may fail."""
    total = {**_DAG["nodes"][1], "name": "fails", "source": {"type": "code", "path": "fails.py"}}
    total["inputs"] = {"answers": "${ask.output}", "after": "${total.output}"}
    dag = {**_DAG, "nodes": [*_DAG["nodes"], total]}
    (project.flow / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    (project.flow / "fails.py").write_text(FAILS, encoding="utf-8")
    done = project.run()
    assert done.returncode == 1
    assert (
        "metrics: answers 4, label excellent, ratio NaN, begun 1\n  the aggregation failed: KeyError: 'size'"
        in done.stdout
    )
    assert project.metrics == {"answers": 4, "label": "excellent", "ratio": "NaN", "begun": 1}
    error = {"type": "KeyError", "message": "'size'", "status_code": None}
    assert json.loads(project.run("--json").stdout)["aggregation"] == {"lines": 4, "error": error}


def test_cached_answers_are_aggregated(project):
    (project.flow / "flow.dag.yaml").write_text(
        yaml.safe_dump({**_DAG, "inputs": {**_DAG["inputs"], "temperature": {"type": "double", "default": 0}}})
    )
    project.run("--cache")
    phi3flow("batch-run", "flow", "--data", "lines.jsonl", "--name", "again", "--cache", cwd=project.folder)
    again = RunFolder(project.folder / ".runs" / "again")
    assert again.manifest.cache_hits == 4
    assert json.loads((again.path / "metrics.json").read_text())["answers"] == 4


def test_scores_stand_beside_what_the_run_logged(project):
    project.run()
    flow = project.folder / "grades"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: grade:grade\n", encoding="utf-8")
    (flow / "grade.py").write_text("def grade(answer: dict) -> dict:\n    return {'one': 1}\n", encoding="utf-8")
    phi3flow("score", "run", "--flow", "grades", "--failed-lines", "left-out", cwd=project.folder)
    assert project.metrics == {"answers": 4, "label": "excellent", "ratio": "NaN", "grades.one": 1.0}
    project.run()
    assert project.metrics == {"answers": 4, "label": "excellent", "ratio": "NaN", "grades.one": 1.0}


def test_a_line_whose_nodes_give_what_no_file_can_hold_is_named(project):
    (project.flow / "ask.py").write_text(ASK.replace("(len(question), 1.0)", "{1, 2}"), encoding="utf-8")
    done = project.run()
    assert done.returncode == 1
    assert "line 0: what it gave for the aggregation is of a kind that no file can hold" in done.stdout


@pytest.mark.parametrize("inputs", [{"questions": "${inputs.question}"}, {}], ids=["the flow's inputs", "nothing"])
@pytest.mark.parametrize("flags", [[], ["--cache"]], ids=["no cache", "cache"])
def test_an_aggregation_may_want_nothing_of_the_nodes(project, inputs, flags):
    dag = {**_DAG, "inputs": {**_DAG["inputs"], "temperature": {"type": "double", "default": 0}}}
    dag["nodes"] = [_DAG["nodes"][0], {**_DAG["nodes"][1], "inputs": inputs}]
    (project.flow / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    (project.flow / "total.py").write_text(COUNT, encoding="utf-8")
    for name in ("run", "again"):
        done = project.run(*flags, "--name", name)
        assert "the aggregation failed" not in done.stdout
    assert project.metrics == {"lines": 4 if inputs else 0}


@pytest.mark.parametrize("aggregates", [True, False])
def test_a_flex_flow_is_aggregated(project, aggregates):
    flow = project.folder / "flex"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: ask:Ask\n", encoding="utf-8")
    aggregate = (
        "    def __aggregate__(self, lines: list) -> dict:\n        return {'answers': len(lines)}\n" * aggregates
    )
    (flow / "ask.py").write_text(
        f"class Ask:\n    def __call__(self, question: str) -> dict:\n        return {{'answer': 1}}\n{aggregate}",
        encoding="utf-8",
    )
    assert project.run(flow="flex").returncode == 0
    assert project.folder_of_run.logged_metrics() == ({"answers": LINES} if aggregates else {})
    assert project.run(flow="flex").returncode == 0


@pytest.mark.parametrize(
    ("returned", "seen"),
    [
        ("question", "line == 'q0'"),
        ("len(question) / 4", "line == 0.5"),
        ("[question, 1]", "line == ['q0', 1]"),
        ("{'answer': question, 'span': (1, 2)}", "line.answer == line['answer'] == 'q0' and line.span == (1, 2)"),
        ("Answer(question, (1, 2))", "line.answer == line['answer'] == 'q0' and line.span == (1, 2)"),
    ],
    ids=["a text", "a number", "a list", "a dict", "a dataclass"],
)
def test_a_flex_flow_aggregates_what_its_entry_returned(project, returned, seen):
    """As under pf: the value itself, not {"output": value}; a dict's values are attributes, and tuples stay tuples."""
    flow = project.folder / "flex"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: ask:Ask\n", encoding="utf-8")
    (flow / "ask.py").write_text(AGGREGATED.format(returned=returned, seen=seen), encoding="utf-8")
    write_lines(project.folder / "lines.jsonl", [{"question": "q0", "answer": "q0"}])
    done = project.run(flow="flex")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.folder_of_run.logged_metrics() == {"seen": True, "lines": 1}


def test_scoring_aggregates_what_a_flex_flow_returned(project):
    flow = project.folder / "flex"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: ask:Ask\n", encoding="utf-8")
    seen = "line.score == 1.0 and line.span == (1, 2)"
    (flow / "ask.py").write_text(
        AGGREGATED.format(returned="{'score': 1.0, 'span': (1, 2)}", seen=seen), encoding="utf-8"
    )
    project.run()
    for flags in ([], [], ["--fresh"]):
        done = phi3flow("score", "run", "--flow", "flex", "--json", *flags, *MAPPING, cwd=project.folder)
        assert json.loads(done.stdout)["metrics"]["flex.seen"]["mean"] == 1.0, done.stderr


def test_a_run_that_is_killed_is_aggregated_as_an_uninterrupted_one(tmp_path):
    project = Project(tmp_path, lines=60)
    (project.flow / "ask.py").write_text(
        ASK.replace("    if question", "    import time; time.sleep(0.02)\n    if question"), encoding="utf-8"
    )
    command = [sys.executable, "-m", "phi3flow.cli.main", "batch-run", "flow", "--data", "lines.jsonl", "--name", "run"]
    process = subprocess.Popen(
        [*command, "--concurrency", "2"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    kept = tmp_path / ".runs" / "run" / "aggregation_inputs.jsonl"
    while not kept.is_file() or kept.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with kept.open("ab") as file:
        file.write(b'{"line_number":59,"aggrega')
    project.run()
    assert project.metrics["answers"] == 59


_DAG: dict[str, Any] = {
    "inputs": {"question": {"type": "string"}},
    "outputs": {"answer": {"type": "string", "reference": "${ask.output.answer}"}},
    "nodes": [
        {
            "name": "ask",
            "type": "python",
            "source": {"type": "code", "path": "ask.py"},
            "inputs": {"question": "${inputs.question}"},
        },
        {
            "name": "total",
            "type": "python",
            "source": {"type": "code", "path": "total.py"},
            "inputs": {"answers": "${ask.output}", "questions": "${inputs.question}"},
            "aggregation": True,
        },
    ],
}
