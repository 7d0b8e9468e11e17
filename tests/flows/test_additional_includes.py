"""additional_includes: files, folders and zips from elsewhere run with the flow, count as it, stand in its record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phi3flow.errors import FlowError
from phi3flow.flows import load_flow
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_flow, write_lines

CODE = """
import zipfile
from pathlib import Path
from lib.deep.up import up
from promptflow.core import tool

@tool
def ask(question: str) -> str:
    Path("written_by_the_tool.txt").write_text(question)
    names = sorted(zipfile.ZipFile("pages.zip").namelist())
    return " ".join([up(question), Path("one.txt").read_text(), Path("there.zip").read_text(), *names])
"""
ITEMS = ["../lib", "../files/one.txt", "../pages.zip", "../there.zip"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A flow whose code, text and archives lie beside its folder."""
    flow = write_flow(tmp_path / "flow", CODE, files={"one.txt": "hidden by the included file"})
    file = flow / "flow.dag.yaml"
    file.write_text(f"# kept\nadditional_includes: {json.dumps(ITEMS)}\n{file.read_text()}", encoding="utf-8")
    others = {
        "lib/deep/up.py": "def up(text): return text.upper()\n",
        "lib/.env": "KEY=secret\n",
        "lib/__pycache__/x.pyc": "",
        "files/one.txt": "one",
        "pages/a.txt": "a",
        "pages/sub/b.txt": "b",
        "there.zip": "is no archive",
    }
    for name, content in others.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    write_lines(tmp_path / "data.jsonl", [{"question": "hi"}])
    return tmp_path


def _run(project: Path) -> RunFolder:
    done = phi3flow("batch-run", "flow", "--data", "data.jsonl", "--name", "run", cwd=project)
    assert done.returncode == 0, done.stderr
    return RunFolder(project / ".runs" / "run")


def test_what_is_included_runs_and_stands_in_the_snapshot(project: Path) -> None:
    before = {file for file in project.rglob("*") if ".runs" not in file.parts}
    run = _run(project)
    pages = "pages/ pages/a.txt pages/sub/b.txt"
    assert run.results()[0].outputs == {"answer": f"HI one is no archive {pages}"}
    assert {file for file in project.rglob("*") if ".runs" not in file.parts} == before
    snapshot = run.path / "snapshot"
    files = {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()}
    assert files == {"flow.dag.yaml", "ask.py", "one.txt", "lib/deep/up.py", "pages.zip", "there.zip"}
    assert (snapshot / "one.txt").read_text() == "one"
    dag = (snapshot / "flow.dag.yaml").read_text()
    assert "# kept" in dag
    assert "additional_includes" not in dag
    again = phi3flow("batch-run", snapshot, "--data", "data.jsonl", "--name", "again", cwd=project)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("name", ["lib/deep/up.py", "files/one.txt", "pages/sub/b.txt", "there.zip", "pages/new.txt"])
def test_an_included_file_that_changes_changes_the_flow(project: Path, name: str) -> None:
    before = load_flow(project / "flow").fingerprint
    (project / "lib" / "__pycache__" / "y.pyc").write_text("")
    os.utime(project / "pages" / "a.txt", (1, 1))
    assert load_flow(project / "flow").fingerprint == before
    (project / name).write_text("changed", encoding="utf-8")
    assert load_flow(project / "flow").fingerprint != before


def test_an_include_that_is_not_there_is_named(project: Path) -> None:
    (project / "files" / "one.txt").unlink()
    with pytest.raises(FlowError, match=r"flow\.dag\.yaml: additional_includes: .*\.\./files/one\.txt"):
        load_flow(project / "flow")


def test_a_flex_flows_entry_may_be_included(tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    yaml = "entry: shared.entry:ask\nadditional_includes: [../shared]\n"
    (tmp_path / "flow" / "flow.flex.yaml").write_text(yaml, encoding="utf-8")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "entry.py").write_text("def ask(question: str):\n    return question[::-1]\n")
    write_lines(tmp_path / "data.jsonl", [{"question": "hi"}])
    assert _run(tmp_path).results()[0].outputs == {"output": "ih"}


def test_a_file_that_an_include_replaces_is_named(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    _run(project)
    assert caplog.text.count("additional_includes: ../files/one.txt takes the place of one.txt") == 1


@pytest.mark.parametrize("link", ["../linked", "../linked.py"])
def test_a_link_comes_in_by_the_name_of_what_it_leads_to_as_under_pf(tmp_path: Path, link: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("NAME = 'folder'", encoding="utf-8")
    (tmp_path / "lib.py").write_text("NAME = 'file'", encoding="utf-8")
    (tmp_path / "linked").symlink_to("lib")
    (tmp_path / "linked.py").symlink_to("lib.py")
    code = (
        "from promptflow.core import tool\nimport lib\n\n@tool\ndef ask(question: str) -> str:\n    return lib.NAME\n"
    )
    file = write_flow(tmp_path / "flow", code) / "flow.dag.yaml"
    file.write_text(f"additional_includes: [{link}]\n{file.read_text()}", encoding="utf-8")
    write_lines(tmp_path / "data.jsonl", [{"question": "hi"}])
    [result] = _run(tmp_path).results()
    assert result.outputs == {"answer": "file" if link.endswith(".py") else "folder"}
