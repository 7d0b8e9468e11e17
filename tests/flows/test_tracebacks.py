"""A user's bug in a node: the node, its file and line are said, and the traceback lies in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from tests.support.flows.foreign_flows import write_flow, write_lines

HELPER = "def shout(text):\n    return text.upper() + missing\n"
BUGS = {
    "a name": ("return txt", "NameError", "ask.py", 9),
    "in a module of the flow": ("import helper; return helper.shout(question)", "NameError", "helper.py", 2),
    "in a library": ("import json; return json.loads('{')", "JSONDecodeError", "ask.py", 9),
    "half a character": ("raise ValueError('\\ud83d')", "ValueError", "ask.py", 9),
    "raised from another": (
        "exec(\"try:\\n 1 / 0\\nexcept ZeroDivisionError as error:\\n raise KeyError('x') from error\")",
        "KeyError",
        "ask.py",
        9,
    ),
}
CODE = """
from promptflow.core import tool



@tool
def ask(question: str) -> str:
    key = "key-of-the-test-0123456789"
    {body}
"""


@pytest.mark.parametrize("kind", BUGS)
def test_the_console_the_folder_and_the_report_say_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    body, raised, file, file_line = BUGS[kind]
    tmp_path = tmp_path / "phi3flow" / "promptflow"  # a project's folder may be called as a package is
    tmp_path.mkdir(parents=True)
    write_flow(tmp_path / "flow", CODE.replace("{body}", body), files={"helper.py": HELPER})
    write_lines(tmp_path / "lines.jsonl", [{"question": "q0"}, {"question": "q1"}])
    monkeypatch.chdir(tmp_path)
    assert main(["batch-run", "flow", "--data", "lines.jsonl", "--name", "run", "--quiet"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"first failure: line 0: {raised}: " in shown
    assert f"(node ask, {file}:{file_line}; the traceback is in run/tracebacks.jsonl)" in shown
    traces = _read(tmp_path / ".runs" / "run" / "tracebacks.jsonl")
    assert [(t["line_number"], t["node"], t["file"], t["file_line"]) for t in sorted(traces, key=_number)] == [
        (number, "ask", file, file_line) for number in range(2)
    ]
    for trace in traces:
        assert trace["traceback"].startswith("Traceback (most recent call last):\n")
        assert "promptflow" not in trace["traceback"]
        assert str(tmp_path) not in trace["traceback"]
    results = _read(tmp_path / ".runs" / "run" / "results.jsonl")
    assert all(result["error"].keys() == {"type", "message", "status_code"} for result in results)
    assert main(["report", "run", "--output", "report.html"]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<summary>node ask, {file}:{file_line}</summary>" in page


def test_what_fails_elsewhere_has_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_flow(tmp_path / "flow", CODE.replace("{body}", "return question"))
    write_lines(tmp_path / "lines.jsonl", [{"question": None}])
    monkeypatch.chdir(tmp_path)
    assert main(["batch-run", "flow", "--data", "lines.jsonl", "--name", "run", "--quiet"]) == 1
    assert "traceback" not in capsys.readouterr().out
    assert not (tmp_path / ".runs" / "run" / "tracebacks.jsonl").exists()


def _number(trace: Any) -> int:
    return int(trace["line_number"])


def _read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
