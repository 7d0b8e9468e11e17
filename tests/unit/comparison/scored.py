"""Two runs of one data, by their scores, as the tests of comparing need them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.records.scores import LineScore, RunMetrics
from phi3flow.runs.folder import RunFolder
from tests.support.folders.answered_runs import make_run


def scored(
    runs_dir: Path,
    name: str,
    scores: Mapping[str, Sequence[float | None]],
    *,
    failed: Collection[int] = (),
    rows: Sequence[Mapping[str, Any]] | None = None,
    evaluation: str = "answer_match",
) -> RunFolder:
    """Write a run of lines with these scores; a ``failed`` line, to which a metric applies, counts as 0."""
    n = len(next(iter(scores.values())))
    answers = [None if number in failed else "an answer" for number in range(n)]
    rows = rows or [{"question": f"q{number}"} for number in range(n)]
    return make_run(runs_dir, name, rows, answers, scores={evaluation: scores})


def rescored(
    run: RunFolder, *, line: Callable[[LineScore], Mapping[str, Any]] = lambda _: {}, **metrics: Any
) -> RunFolder:
    """Change fields of the lines' scores by answer_match, and of its metrics.json; return the run."""
    scores = [score.model_copy(update=dict(line(score))) for score in run.scores("answer_match")]
    changed: RunMetrics = run.metrics("answer_match").model_copy(update=metrics)
    run.write_scores("answer_match", scores, changed)
    return run
