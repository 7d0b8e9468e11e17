"""The figure of sorted differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.report.gains import GainsFigure, gains_figure
from phi3flow.report.run_view import view_run
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, scored_run, write_run

F1 = "answer_match.f1"


def gains(tmp_path: Path, before: Sequence[float | None], after: Sequence[float | None]) -> GainsFigure | None:
    """Return the figure of two runs with these scores."""
    runs = [scored_run(tmp_path / name, scores) for name, scores in (("base", before), ("tuned", after))]
    return gains_figure(F1, compare_runs(*runs), [view_run(run) for run in runs])


def test_neighbours_that_differ_alike_are_one_column_and_ties_a_gap(tmp_path: Path) -> None:
    figure = gains(tmp_path, [0.0] * 10, [1.0] * 5 + [0.0] * 5)
    assert figure is not None
    [column] = figure.columns
    assert (column.outcome, column.at, column.width, column.top, column.height) == ("win", 50, 50, 0, 100)
    assert (figure.wins, figure.losses, figure.ties) == (5, 0, 5)
    assert figure.mean == 50


def test_many_lines_are_drawn_by_a_bounded_number_of_columns(tmp_path: Path) -> None:
    figure = gains(tmp_path, [0.5] * 5000, [n / 5000 for n in range(5000)])
    assert figure is not None
    assert len(figure.columns) <= 400
    assert sum(column.width for column in figure.columns) == pytest.approx(100, abs=0.5)
    assert [column.outcome for column in figure.columns][:: len(figure.columns) - 1] == ["loss", "win"]


def test_nothing_is_drawn_where_no_line_has_both_scores(tmp_path: Path) -> None:
    assert gains(tmp_path, [0.5, None], [None, 0.5]) is None


def test_labels_of_the_axis_do_not_lie_over_each_other(tmp_path: Path) -> None:
    figure = gains(tmp_path, [0.5, 0.5], [0.49, 1.0])
    assert figure is not None
    assert [tick.label for tick in figure.ticks] == ["0.000", "+0.500"]


def test_equal_runs_are_a_flat_line(tmp_path: Path) -> None:
    figure = gains(tmp_path, [0.5, 0.7], [0.5, 0.7])
    assert figure is not None
    assert figure.columns == []
    assert figure.mean == figure.zero


def test_repeats_of_a_line_are_one_difference(repeated: RunFolder, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "other",
        [line(0, "a", line_id="x"), line(1, "b", line_id="y")],
        rows=[{"kind": kind, "conversation_id": "c"} for kind in "ab"],
        scores={"answer_match": {"f1": [0.3, 1.0]}},
    )
    runs = (repeated, other)
    figure = gains_figure(F1, compare_runs(*runs), [view_run(run) for run in runs])
    assert figure is not None
    assert (figure.wins, figure.losses) == (1, 0)


def test_the_figure_is_of_the_lines_that_the_difference_is_of(tmp_path: Path) -> None:
    base = scored_run(tmp_path / "base", [0.5] * 4)
    results = [line(number, "a" if number else None) for number in range(4)]
    tuned = write_run(tmp_path / "tuned", results, scores={"answer_match": {"f1": [0.0, 0.8, 0.8, 0.5]}})
    runs, comparison = [view_run(base), view_run(tuned)], compare_runs(base, tuned)
    figure = gains_figure(F1, comparison, runs)
    assert figure is not None
    assert (figure.wins, figure.losses, figure.ties) == (2, 1, 1)
    assert [column.outcome for column in figure.columns] == ["loss", "win"]
    other = comparison.metrics[F1].model_copy(update={"n": 3})
    assert gains_figure(F1, comparison.model_copy(update={"metrics": {F1: other}}), runs) is None
