"""Folders that are no runs, under each verb that writes, clears or deletes one: nothing is lost or changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.folders.answered_runs import make_run

LINES = [{"question": "hi", "ground_truth": "HI", "line_id": str(number)} for number in range(3)]


def _files(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("theirs\n", encoding="utf-8")

    return make


def _manifest(content: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "manifest.json").write_text(content, encoding="utf-8")
        (folder / "icon.png").write_bytes(b"theirs")

    return make


def _half_run(folder: Path) -> None:
    make_run(folder.parent, folder.name, LINES, ["HI"] * 3)
    (folder / "manifest.json").unlink()


def _flow(folder: Path) -> None:
    write_flow(folder, ECHO)


def _link_to_flow(folder: Path) -> None:
    folder.symlink_to(write_flow(folder.with_name("linked-flow"), ECHO))


def _link_to_run(folder: Path) -> None:
    make_run(folder.parent / "elsewhere", "run", LINES, ["HI"] * 3)
    folder.symlink_to(folder.parent / "elsewhere" / "run")


def _folder_named_as_manifest(folder: Path) -> None:
    _files("manifest.json/inside.txt")(folder)


FOLDERS: dict[str, Callable[[Path], None]] = {
    "a flow": _flow,
    "data": _files("inputs.jsonl", "outputs.jsonl"),
    "results of something else": _files("results.jsonl"),
    "scores": _files("scores/other/metrics.json"),
    "sources": _files("src/main.py", "README.md"),
    "a git repository": _files(".git/HEAD", ".git/config"),
    "hidden files": _files(".env"),
    "what pf made": _files("run_metadata.json", "flow_outputs/output.jsonl", "snapshot/flow.dag.yaml"),
    "of mlflow": _files("meta.yaml", "artifacts/model/MLmodel"),
    "a web app": _manifest(json.dumps({"name": "app", "icons": [], "start_url": "/"})),
    "an extension": _manifest(json.dumps({"manifest_version": 3, "name": "x", "version": "1"})),
    "a list": _manifest("[]"),
    "no JSON": _manifest("{"),
    "an empty manifest": _manifest(""),
    "a folder named manifest.json": _folder_named_as_manifest,
    "half a run": _half_run,
    "a link to a flow": _link_to_flow,
}
LINKS = {"a link to a run": _link_to_run}


def _content(folder: Path) -> dict[str, bytes | None]:
    """Return all that a folder holds, behind links too, but for lock files."""
    paths = (path for path in folder.rglob("*") if path.name != ".lock")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}
    behind = folder.resolve()
    return found | ({} if behind == folder else _content(behind))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_flow(tmp_path / "chat", ECHO)
    write_lines(tmp_path / "lines.jsonl", LINES)
    return tmp_path


def _refused(done: Done, folder: Path, before: dict[str, bytes | None]) -> None:
    assert done.returncode == 2, done.stdout
    assert folder.name in done.stderr
    assert "Traceback" not in done.stderr
    assert _content(folder) == before


@pytest.mark.parametrize("kind", [*FOLDERS, *LINKS])
@pytest.mark.parametrize("fresh", [(), ("--fresh",)], ids=["goes on", "fresh"])
def test_a_run_is_not_written_into_what_is_none(project: Path, kind: str, fresh: tuple[str, ...]) -> None:
    (FOLDERS | LINKS)[kind](folder := project / "theirs")
    before = _content(folder)
    arguments = ("--data", "lines.jsonl", "--runs-dir", ".", "--name", "theirs", *fresh)
    _refused(phi3flow("batch-run", "chat", *arguments, cwd=project), folder, before)


@pytest.mark.parametrize("kind", [*FOLDERS, *LINKS])
@pytest.mark.parametrize("reference", ["theirs", "./theirs"])
def test_what_is_no_run_is_not_deleted(project: Path, kind: str, reference: str) -> None:
    (FOLDERS | LINKS)[kind](folder := project / "theirs")
    before = _content(folder)
    _refused(phi3flow("runs", "delete", reference, "--runs-dir", ".", "--yes", cwd=project), folder, before)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("verb", ["score", "report", "gate"])
def test_what_is_no_run_is_neither_scored_nor_reported(project: Path, kind: str, verb: str) -> None:
    FOLDERS[kind](folder := project / "theirs")
    before = _content(folder)
    arguments = {
        "score": ("theirs", "--flow", "chat"),
        "report": ("theirs", "--output", "report.html"),
        "gate": ("theirs", "--rule", "f1 >= 0"),
    }[verb]
    _refused(phi3flow(verb, *arguments, "--runs-dir", ".", cwd=project), folder, before)


def test_an_empty_folder_and_a_run_that_was_never_begun_become_one(project: Path) -> None:
    (project / ".runs" / "first").mkdir(parents=True)
    (project / ".runs" / "second").mkdir()
    for name in (".lock", ".manifest.json.0123abcd"):
        (project / ".runs" / "second" / name).touch()
    for name in ("first", "second"):
        done = phi3flow("batch-run", "chat", "--data", "lines.jsonl", "--name", name, cwd=project)
        assert done.returncode == 0, done.stderr


def test_a_run_is_started_over_and_deleted(project: Path) -> None:
    run = ("batch-run", "chat", "--data", "lines.jsonl", "--name", "run")
    assert phi3flow(*run, cwd=project).returncode == 0
    shutil.copytree(project / ".runs" / "run", project / "moved" / "run")
    assert phi3flow(*run, "--fresh", cwd=project).returncode == 0
    for reference in ("run", "moved/run"):
        assert phi3flow("runs", "delete", reference, "--yes", cwd=project).returncode == 0
    assert not (project / ".runs" / "run").exists()
    assert not (project / "moved" / "run").exists()
