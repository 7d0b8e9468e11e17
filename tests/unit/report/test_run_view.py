"""What the report takes of a run."""

from __future__ import annotations

from pathlib import Path

from phi3flow.report import write_report
from phi3flow.report.run_view import view_run
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, scored_run, write_run


def test_a_run_is_shown_without_its_ground_truth_where_the_data_changed(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [1.0])
    Path(run.manifest.data).write_text("{}\n", encoding="utf-8")
    view = view_run(run)
    assert view.rows == {}
    assert view.data_note is not None
    assert "has changed" in view.data_note
    html = write_report([run], output=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "ground truth and required values are not shown" in html


def test_failures_are_counted_by_kind(tmp_path: Path) -> None:
    errors = ["timeout", "503", "timeout", "timeout"]
    run = view_run(write_run(tmp_path / "run", [line(n, None, error=error) for n, error in enumerate(errors)]))
    assert [(failure.message, failure.count) for failure in run.failures] == [("timeout", 3), ("503", 1)]
    assert run.failures[0].line_id == next(iter(run.results))


def test_counts_of_lines_are_lines_of_the_data(repeated: RunFolder) -> None:
    view = view_run(repeated)
    assert (view.total, view.completed, view.failed) == (2, 1, 1)


def test_what_an_evaluation_said_of_a_line_is_kept_apart_from_its_failures(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [line(n, "a" if n else None) for n in range(3)], scores={"q": {"f": [0, 1, None]}}
    )
    scores = run.scores("q")
    scores[1] = scores[1].model_copy(update={"texts": {"reason": "well said"}})
    scores[2] = scores[2].model_copy(update={"failures": {"f": "the verdict 'good' is no number"}})
    run.write_scores("q", scores, run.metrics("q"))
    view = view_run(run)
    ids = [score.line_id for score in scores]
    assert view.line_texts == {"q.reason": {ids[1]: "well said"}}
    assert view.score_errors == {ids[2]: ["q.f: the verdict 'good' is no number"]}  # the first failed in the run
