"""The environment variables of run.yml and of a flow: a connection's values, a .env file; secrets stay out of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_flow, write_lines

SECRET = "sk-never-in-a-file-0123456789"
CODE = """
import os
from promptflow.core import tool

@tool
def ask(question: str) -> str:
    key = os.environ["OPENAI_API_KEY"]
    assert len(key) == 29, len(key)
    print("printed", key)
    if question == "fail":
        raise ValueError(f"refused with {key}")
    return f"{question} {key} {os.environ['PLAIN']}"
"""
CONNECTION = f"name: my_openai\ntype: open_ai\napi_key: {SECRET}\nbase_url: https://host.example/v1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A flow that wants OPENAI_API_KEY, its data, and a connection that has it."""
    write_flow(tmp_path / "flow", CODE)
    write_lines(tmp_path / "data.jsonl", [{"question": "hi"}, {"question": "fail"}])
    (tmp_path / "connections").mkdir()
    (tmp_path / "connections" / "my_openai.yml").write_text(CONNECTION, encoding="utf-8")
    return tmp_path


def _text_of(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.rglob("*") if file.is_file())


def test_a_connections_value_reaches_the_tool_and_no_file(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    variables = "{OPENAI_API_KEY: '${my_openai.api_key}', PLAIN: '${NOT.A.REFERENCE}'}"
    (project / "run.yml").write_text(f"environment_variables: {variables}\n", encoding="utf-8")
    done = phi3flow("batch-run", "flow", "--data", "data.jsonl", "--run", "run.yml", "--name", "run", cwd=project)
    assert done.returncode == 1
    run = RunFolder(project / ".runs" / "run")
    answered, failed = run.results()
    assert answered.outputs == {"answer": "hi *** ${NOT.A.REFERENCE}"}
    assert failed.error is not None
    assert failed.error.message == "refused with ***"
    assert run.manifest.connections["my_openai"].host == "host.example"
    assert SECRET not in _text_of(run.path) + done.stdout + done.stderr


def test_a_flows_own_variables_may_name_a_connection_too(project: Path) -> None:
    file = project / "flow" / "flow.dag.yaml"
    variables = "environment_variables: {OPENAI_API_KEY: '${my_openai.api_key}', PLAIN: p}\n"
    file.write_text(variables + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert phi3flow("batch-run", "flow", "--data", "data.jsonl", "--name", "run", cwd=project).returncode == 1
    assert RunFolder(project / ".runs" / "run").results()[0].outputs == {"answer": "hi *** p"}


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("${my_openai.key}", "the connection has base_url, api_key"),
        ("${other.api_key}", "there is no connection 'other'"),
    ],
)
def test_a_value_that_no_connection_has_is_named(project: Path, reference: str, words: str) -> None:
    variables = f"{{OPENAI_API_KEY: '{reference}'}}"
    (project / "run.yml").write_text(f"environment_variables: {variables}\n", encoding="utf-8")
    done = phi3flow("batch-run", "flow", "--data", "data.jsonl", "--run", "run.yml", cwd=project)
    assert done.returncode == 2
    assert words in done.stderr
    assert SECRET not in done.stderr


def test_a_dotenv_file_is_the_environment(project: Path) -> None:
    (project / "configs").mkdir()
    (project / "configs" / ".env").write_text(f"OPENAI_API_KEY={SECRET}\nPLAIN='a b'\n", encoding="utf-8")
    run_file = project / "configs" / "run.yml"
    run_file.write_text("environment_variables: .env\ndisplay_name: shown\nruntime: auto\n", encoding="utf-8")
    done = phi3flow("batch-run", "flow", "--data", "data.jsonl", "--run", run_file, "--name", "run", cwd=project)
    assert "display_name, runtime: of no meaning here, ignored" in done.stderr
    results = RunFolder(project / ".runs" / "run").results()
    assert results[0].outputs == {"answer": f"hi {SECRET} a b"}
    assert SECRET not in (project / ".runs" / "run" / "manifest.json").read_text(encoding="utf-8")
