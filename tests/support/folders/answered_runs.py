"""Runs that answered given rows, for tests of scoring and comparing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import with_line_ids
from tests.support.folders.run_folders import Scores, line, write_run


def make_run(
    runs_dir: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str | None],
    *,
    output: str = "answer",
    scores: Scores | None = None,
) -> RunFolder:
    """Write a Completed run that answered ``rows`` with ``answers`` (a None is a line that failed).

    Line ids are the rows' own, as the runner gives them; ``output`` is the name of the flow's output.
    """
    named = with_line_ids(dict(row) for row in rows)
    results = [
        line(number, answer, question=row.get("question", ""), line_id=line_id)
        for number, ((line_id, row), answer) in enumerate(zip(named, answers, strict=True))
    ]
    results = [
        result.model_copy(update={"outputs": {output: result.outputs["answer"]}}) if result.outputs else result
        for result in results
    ]
    return write_run(runs_dir / name, results, rows=rows, scores=scores)
