"""What is said of a run beside its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from phi3flow.records.comparisons import Difference, Sides, StoppedEarly
from phi3flow.records.lines import LineError
from phi3flow.report.figures import Scale
from phi3flow.report.notes import run_notes
from phi3flow.report.run_view import scale_of, view_run
from phi3flow.runs.folder import RunFolder
from tests.support.folders.answered_runs import make_run
from tests.support.folders.run_folders import line, scored_run, write_run
from tests.support.folders.version_1_run import version_1_run


def watched_run(folder: Path, verdict: Literal["better", "undecided"], *, level: float = 0.05) -> RunFolder:
    """Write a run of 60 lines, of which 50 ran, that was tested against base while it ran."""
    test = StoppedEarly(
        metric="answer_match.f1",
        baseline="base",
        verdict=verdict,
        difference=Difference(mean=0.229, low=0.1, high=0.358),
        p=0.012,
        n=50,
        level=level,
        baseline_mean=0.465,
        candidate_mean=0.694,
        wins=25,
        losses=5,
        ties=20,
        failed=Sides(candidate=3),
    )
    counts = {"total": 60, "completed": 50, "failed": 0, "retries": 0}
    return scored_run(folder, [0.7] * 50, stopped_early=test.model_dump(), counts=counts)


def test_a_run_that_ended_early_says_by_what_test_and_that_it_is_biased(tmp_path: Path) -> None:
    [note] = run_notes(view_run(watched_run(tmp_path / "tuned", "better")))
    assert note == (
        "it ended early, after 50 of 60 lines: better on f1 against base, by its test while it ran: 0.694 against "
        "0.465, a difference of +0.229 (sequential 95 % interval +0.100 to +0.358) over 50 paired lines, p 0.012; 25 "
        "better, 5 worse, 20 alike; 3 lines of tuned failed. The size of the difference is biased upward: the run "
        "stopped because it was large."
    )


def test_a_run_that_was_tested_without_a_verdict_is_undecided(tmp_path: Path) -> None:
    [note] = run_notes(view_run(watched_run(tmp_path / "tuned", "undecided", level=0.025)))
    assert note.startswith("it was tested while it ran, and 50 lines gave no verdict: undecided on f1 against base")
    assert "(sequential 97.5 % interval +0.100 to +0.358)" in note
    assert "at a level that the candidates of its command share" in note
    assert "biased" not in note


@pytest.mark.parametrize(
    ("ends", "scores"),
    [((-10.0, 10.0), [-4.0, 9.0]), ((1.0, 5.0), [3.0]), ((0.0, 10.0), [4.9]), ((-100.0, 0.0), [-3.0])],
)
def test_the_axis_of_a_metric_is_its_declared_range(tmp_path: Path, ends: tuple[float, float], scores) -> None:
    run = make_run(
        tmp_path, "run", [{"question": "q"}] * len(scores), ["a"] * len(scores), scores={"own": {"m": scores}}
    )
    path = run.path / "scores" / "own" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**metrics, "score_ranges": {"m": ends}}), encoding="utf-8")
    assert scale_of("own.m", [view_run(run)]) == Scale(*ends)


def test_what_the_comparison_says_of_a_test_is_not_said_again(tmp_path: Path) -> None:
    [note] = run_notes(view_run(watched_run(tmp_path / "tuned", "better")), compared_with="base")
    assert note == "it ended early, after 50 of 60 lines: better on f1 against base."


def test_scores_of_version_1_are_shown_with_the_command_that_scores_anew(tmp_path: Path) -> None:
    notes = list(run_notes(view_run(version_1_run(tmp_path / ".runs"))))
    assert any("phi3flow score old --flow " in note and "an earlier build's" in note for note in notes)


@pytest.mark.parametrize("compared_with", [None, "base"])
def test_an_aggregation_that_failed_is_named(tmp_path: Path, compared_with: str | None) -> None:
    run = scored_run(tmp_path / "run", [0.5])
    error = LineError(type="ValueError", message="no label.")
    metrics = run.metrics("answer_match").model_copy(update={"aggregation_error": error})
    run.write_scores("answer_match", run.scores("answer_match"), metrics)
    expected = [] if compared_with else ["the aggregation of answer_match failed: ValueError: no label."]
    assert list(run_notes(view_run(run), compared_with=compared_with)) == expected


def test_failures_of_the_endpoint_are_named_with_the_way_to_try_again(tmp_path: Path) -> None:
    [note] = run_notes(view_run(write_run(tmp_path / "run", [line(0, "a"), line(1, None)])))
    assert note.startswith("1 line failed by the endpoint: give its batch-run command again")


def test_a_flow_that_changed_while_it_ran_is_named(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [0.5], flow_changes=("a.txt has changed", "b.py is new"))
    [note] = run_notes(view_run(run), compared_with="base")
    assert note == "the flow changed while it ran: a.txt has changed, b.py is new; its answers may be of either."
