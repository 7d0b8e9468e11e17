"""A file system that cannot be written: each verb says so in one line, and what only reads works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS

ROWS = [{"question": f"q{number}", "ground_truth": f"Q{number}"} for number in range(5)]
WRITING = [
    ("batch-run", "flow", "--data", "lines.jsonl"),
    ("score", "a", "--flow", "answer_match"),
    ("connect", "x", "--endpoint", "http://127.0.0.1:1/score"),
    ("report", "a"),
    ("report", "a", "--mlflow", "--output", "{elsewhere}/report.html"),
    ("runs", "list", "--output", "runs.csv"),
    ("runs", "delete", "a", "--yes"),
    ("compare", "a", "b", "--output", "lines.csv"),
]
READING = [
    ("runs", "list"),
    ("runs", "show", "a"),
    ("compare", "a", "b"),
    ("report", "a", "--output", "{elsewhere}/report.html"),
    ("gate", "a", "--rule", "f1 >= 0.0", "--output", "{elsewhere}/gate.json"),
]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with two scored runs, on a file system that is read-only by then."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        write_flow(folder / "flow", ECHO)
        write_lines(folder / "lines.jsonl", ROWS)
        shutil.copytree(FLOWS / "eval" / "answer_match", folder / "answer_match")
        for name, f1 in (("a", [1.0, 0.0, 1.0, 0.0, 1.0]), ("b", [1.0, 1.0, 1.0, 0.0, 1.0])):
            make_run(folder / ".runs", name, ROWS, ["Q0"] * 5, scores={"answer_match": {"f1": f1}})
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_what_writes_says_that_it_cannot(project: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = phi3flow(*(word.format(elsewhere=tmp_path) for word in command), cwd=project)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_reads_works(project: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = phi3flow(*(word.format(elsewhere=tmp_path) for word in command), cwd=project)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr or command[0] == "gate", "its record in the run's folder is said to be lacking"
