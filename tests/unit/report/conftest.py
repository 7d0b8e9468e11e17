"""Runs that several tests of the report look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, write_run


@pytest.fixture
def repeated(tmp_path: Path) -> RunFolder:
    """A run of two lines of one conversation, each of which ran three times; the last time the second failed."""
    answers = ["a", "b", "a", "b", "a", None]
    ids = ["x", "y", "x~1", "y~1", "x~2", "y~2"]
    results = [line(number, answer, line_id=ids[number]) for number, answer in enumerate(answers)]
    rows = [{"kind": kind, "conversation_id": "c"} for kind in "ab"]
    scores = {"answer_match": {"f1": [0.0, 0.5, 0.3, 0.7, 0.6, None]}}
    return write_run(tmp_path / "run", results, rows=rows, scores=scores, parameters={"repeats": 3, "lines": 2})
