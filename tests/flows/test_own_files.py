"""What a flow writes into its own folder is no change of it; what its author changes is, by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ResumeMismatchError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.run_options import run_options

LINES = [{"question": f"q{number}"} for number in range(6)]

WRITERS = {
    "a cache": "json.dump(question, open('cache.json', 'w'))",
    "a log": "os.makedirs('logs/deep', exist_ok=True); open('logs/deep/all.log', 'a').write(question)",
    "a file a line": "os.makedirs('out', exist_ok=True); Path('out', question).write_text(question)",
    "a file a line, in the folder": "Path(question + '.txt').write_text(question)",
    "a database": "c = sqlite3.connect('kept.sqlite'); c.execute('create table if not exists t (q)'); "
    "c.execute('insert into t values (?)', [question]); c.commit(); c.close()",
    "a database that was there": "c = sqlite3.connect('there.sqlite'); c.execute('insert into t values (?)', "
    "[question]); c.commit(); c.close()",
    "a file that was there": "open('state.json', 'w').write(question)",
    "a file that was there, replaced": "Path('new' + question).write_text(question); "
    "os.replace('new' + question, 'state.json')",
    "a file that was there, removed": "os.path.exists('state.json') and os.remove('state.json')",
    "by another program": "subprocess.run(['sh', '-c', 'echo x >> by_shell.txt'])",
    "in the project": "open('../kept.json', 'a').write(question)",
    "by shelve": "s = shelve.open('shelf'); s[question] = 1; s.close()",
    "code": "Path('made.py').write_text('NAME = 1'); import made",
    "byte code": "import helper",
    "of promptflow": "os.makedirs('.promptflow', exist_ok=True); open('.promptflow/x', 'w').write('x')",
    "what it reads later": "p = Path('kept.txt'); q = p.read_text() if p.exists() else ''; p.write_text(q + question)",
}
QUICK = ("a cache", "a database that was there", "a file that was there, replaced", "by another program", "code")
IMPORTS = "import json, os, shelve, sqlite3, subprocess\nfrom pathlib import Path\n"


def _flow(folder: Path, body: str, files: Mapping[str, str] | None = None) -> Path:
    import sqlite3

    code = IMPORTS + ECHO.replace("    return", f"    {body}\n    return")
    flow = write_flow(folder, code, files={"state.json": "{}", "helper.py": "", **(files or {})})
    with sqlite3.connect(flow / "there.sqlite") as database:
        database.execute("create table t (q)")
    database.close()
    return flow


def _run(flow: Path, tmp_path: Path, *, limit: int | None = None, name: str = "run", fresh: bool = False) -> RunFolder:
    lines = write_lines(tmp_path / "lines.jsonl", LINES)
    options = run_options(concurrency=2, timeout_s=30.0, workers=2)
    plan = RunPlan(load_flow(flow), lines, tmp_path / "runs", name=name, limit=limit, options=options)
    return run_flow(plan, connections=dict, fresh=fresh)


def _some(kinds: Iterable[str], quick: Iterable[str]) -> list[Any]:
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", _some(WRITERS, QUICK))
def test_a_flow_that_writes_goes_on_and_stays_itself(tmp_path: Path, kind: str) -> None:
    flow = _flow(tmp_path / "project" / "flow", WRITERS[kind])
    before = load_flow(flow).fingerprint
    _run(flow, tmp_path, limit=2)
    assert load_flow(flow).fingerprint == before
    run = _run(flow, tmp_path)
    assert run.manifest.counts.completed == len(LINES)
    assert [result.attempts for result in run.results()] == [1] * len(LINES)
    again = _run(flow, tmp_path, name="again")
    assert again.manifest.flow_fingerprint == run.manifest.flow_fingerprint == before


@pytest.mark.parametrize("there", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_log_that_the_source_names_outside_of_the_project_is_the_flows_own(tmp_path: Path, there: bool) -> None:
    log = tmp_path / "elsewhere" / "calls.log"
    log.parent.mkdir()
    if there:
        log.write_text("before")
    flow = _flow(tmp_path / "project" / "flow", f"open({str(log)!r}, 'a').write(question)")
    before = load_flow(flow).fingerprint
    _run(flow, tmp_path, limit=2)
    assert load_flow(flow).fingerprint == before
    run = _run(flow, tmp_path)
    assert [result.attempts for result in run.results()] == [1] * len(LINES)
    assert load_flow(flow).fingerprint == before
    assert log.read_text().removeprefix("before") != ""


@pytest.mark.parametrize("kind", _some(["a cache", "a file that was there", "a database", "a log"], ["a database"]))
def test_an_edit_between_two_goes_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    flow = _flow(tmp_path / "flow", WRITERS[kind], files={"prompt.txt": "before", "gone.txt": "before"})
    _run(flow, tmp_path, limit=2)
    with (flow / "flow.dag.yaml").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    (flow / "prompt.txt").write_text("after", encoding="utf-8")
    (flow / "gone.txt").unlink()
    (flow / "added.py").write_text("", encoding="utf-8")
    with pytest.raises(ResumeMismatchError) as refusal:
        _run(flow, tmp_path)
    assert "(added.py is new, flow.dag.yaml has changed, gone.txt is gone, prompt.txt has changed)" in str(
        refusal.value
    )
    assert _run(flow, tmp_path, fresh=True).manifest.counts.completed == len(LINES)
    assert _run(flow, tmp_path).manifest.counts.completed == len(LINES)


def test_another_flow_begins_with_what_the_one_before_it_left(tmp_path: Path) -> None:
    """A cache of an earlier version that this one finds is part of what it is: it may answer from it."""
    flow = _flow(tmp_path / "flow", WRITERS["a cache"])
    _run(flow, tmp_path)
    (flow / "helper.py").write_text("# edited", encoding="utf-8")
    edited = load_flow(flow)
    assert "cache.json" in edited.files
    _run(flow, tmp_path, name="edited", limit=2)
    assert load_flow(flow).fingerprint == edited.fingerprint
    (flow / "helper.py").write_text("", encoding="utf-8")
    assert load_flow(flow).fingerprint == RunFolder(tmp_path / "runs" / "run").manifest.flow_fingerprint


READERS = {
    "by a name that only a line knows": ("question + 't'", "q0t"),
    "in a folder that is listed": ("[p for p in Path('..').iterdir() if p.name.startswith('prom')][0]", "../prompt"),
    "by a variable": ("os.environ['PROMPT_FILE']", "../somewhere.txt"),
    "in a hidden folder of the project": ("'../.prompts/' + 'p' + '.txt'", "../.prompts/p.txt"),
}


@pytest.mark.parametrize("kind", _some(READERS, ["by a variable"]))
def test_what_no_source_names_is_noticed_once_it_is_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expression, name = READERS[kind]
    flow = _flow(tmp_path / "project" / "flow", f"p = Path({expression}); p.exists() and p.read_text()")
    subprocess.run(["git", "init", "-q", str(flow.parent)], check=True)
    (flow.parent / ".gitignore").write_text("q0t\n", encoding="utf-8")
    file = flow / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("before", encoding="utf-8")
    monkeypatch.setenv("PROMPT_FILE", str(file))
    before = load_flow(flow).fingerprint
    _run(flow, tmp_path, limit=2)
    assert load_flow(flow).fingerprint == before
    assert _run(flow, tmp_path, limit=3).manifest.counts.completed == 3
    file.write_text("after", encoding="utf-8")
    assert load_flow(flow).fingerprint != before
    with pytest.raises(ResumeMismatchError, match=r"(q0t|prompt|somewhere\.txt|p\.txt) (is new|has changed)"):
        _run(flow, tmp_path)
    file.write_text("before", encoding="utf-8")
    assert _run(flow, tmp_path).manifest.counts.completed == len(LINES)


LISTINGS = {
    "glob": "sorted(glob.glob('../documents/*.txt'))",
    "listdir": "sorted(os.listdir('../documents'))",
    "walk": "sorted(name for _, _, names in os.walk('../documents') for name in names)",
    "pathlib": "sorted(map(str, Path('../documents').rglob('*.txt')))",
}


@pytest.mark.parametrize("kind", _some(LISTINGS, ["glob"]))
def test_what_comes_into_a_folder_that_is_listed_is_noticed(tmp_path: Path, kind: str) -> None:
    body = f"import glob; names = {LISTINGS[kind]}; open('../documents/' + question + '.mine', 'w').close()"
    flow = _flow(tmp_path / "project" / "flow", body)
    documents = flow.parent / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text("a", encoding="utf-8")
    (documents / "x.mine").touch()
    before = load_flow(flow).fingerprint
    _run(flow, tmp_path, limit=2)
    assert _run(flow, tmp_path, limit=3).manifest.flow_fingerprint == load_flow(flow).fingerprint == before
    (documents / ".hidden").touch()
    assert load_flow(flow).fingerprint == before
    (documents / "b.txt").write_text("b", encoding="utf-8")
    with pytest.raises(ResumeMismatchError, match=r"\.\./documents/ has changed"):
        _run(flow, tmp_path)
    (documents / "b.txt").unlink()
    assert _run(flow, tmp_path).manifest.counts.completed == len(LINES)


def test_an_edit_while_a_run_goes_on_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit = "subprocess.run(['sh', '-c', 'echo after > prompt.txt']) if question == 'q3' else None"
    flow = _flow(tmp_path / "flow", f"{edit}; {WRITERS['a log']}", files={"prompt.txt": "before"})
    assert not _run(flow, tmp_path, limit=3).manifest.flow_changes
    run = _run(flow, tmp_path, name="edited")
    assert run.manifest.flow_changes == ("prompt.txt has changed",)
    assert "the flow changed while it ran: prompt.txt has changed; answers that rest on" in caplog.text


def test_what_python_lists_to_import_is_no_reading_of_the_flow(tmp_path: Path) -> None:
    flow = _flow(tmp_path / "flow", "import sys; sys.path.insert(0, '..'); import colorsys, helper")
    run = _run(flow, tmp_path)
    (tmp_path / "new.py").touch()
    assert load_flow(flow).fingerprint == run.manifest.flow_fingerprint


def test_what_python_keeps_of_a_package_is_no_reading_of_the_flow(tmp_path: Path) -> None:
    """Of one that is developed in the project, which any search for entry points goes through."""
    facts = tmp_path / "project" / "src" / "ours.egg-info"
    facts.mkdir(parents=True)
    for name, content in {"PKG-INFO": "Name: ours\nVersion: 1\n", "entry_points.txt": "[x]\ny = z\n"}.items():
        (facts / name).write_text(content, encoding="utf-8")
    source = tmp_path / "project" / "src"
    body = (
        f"import importlib.metadata, sys; sys.path.append({str(source)!r}); importlib.metadata.entry_points(group='x')"
    )
    flow = _flow(tmp_path / "project" / "flow", body)
    before = load_flow(flow).fingerprint
    assert _run(flow, tmp_path).manifest.counts.completed == len(LINES)
    (facts / "entry_points.txt").write_text("[x]\ny = another\n", encoding="utf-8")
    assert load_flow(flow).fingerprint == before


def test_a_module_from_where_only_the_environment_knows_is_noticed_once_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "elsewhere" / "team"
    library.mkdir(parents=True)
    (library / "util.py").write_text("NAME = 1", encoding="utf-8")
    monkeypatch.setenv("TEAM", str(library))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))  # what lies in there is nobody's for long
    flow = _flow(tmp_path / "project" / "flow", "import sys; sys.path.append(os.environ['TEAM']); import util")
    before = load_flow(flow).fingerprint
    _run(flow, tmp_path, limit=2)
    assert _run(flow, tmp_path, limit=3).manifest.flow_fingerprint == before
    (library / "util.py").write_text("NAME = 2222", encoding="utf-8")
    assert load_flow(flow).fingerprint != before


def test_a_plain_flow_gets_no_record(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    _run(flow, tmp_path)
    assert {path.name for path in flow.iterdir()} - {"__pycache__"} == {"ask.py", "flow.dag.yaml"}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 3])
def test_a_killed_run_of_a_flow_that_writes_goes_on_under_its_name(tmp_path: Path, moment: int) -> None:
    body = (
        f"{WRITERS['a file that was there']}; {WRITERS['a log']}; {WRITERS['a database']}; import time; time.sleep(.3)"
    )
    flow = _flow(tmp_path / "flow", body)
    lines = write_lines(tmp_path / "lines.jsonl", LINES * 3)
    command = [sys.executable, "-m", "phi3flow", "batch-run", str(flow), "--data", str(lines), "--concurrency", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline_s = time.monotonic() + 60
    while sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob(".runs/*/results.jsonl")) < moment:
        assert time.monotonic() < deadline_s
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (folder,) = (path for path in (tmp_path / ".runs").iterdir() if path.is_dir())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"]["completed"] == len(LINES) * 3
    assert len((folder / "results.jsonl").read_bytes().splitlines()) == len(LINES) * 3
