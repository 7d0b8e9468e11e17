"""The tables of slices."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.records.comparisons import Sides
from phi3flow.report.embedded_lines import embed
from phi3flow.report.run_view import view_run
from phi3flow.report.slice_tables import compared_slices, run_slices
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, run_of_kinds, write_run

F1 = "answer_match.f1"


def test_each_column_and_metric_has_a_table_of_slices(tmp_path: Path) -> None:
    runs = [run_of_kinds(tmp_path / name, [0.1, 0.2, 0.3, shift]) for name, shift in (("base", 0.4), ("tuned", 0.9))]
    tables = compared_slices([view_run(run) for run in runs], compare_runs(*runs, by=["kind", "kind.length"]))
    assert [(table.column, table.metric) for table in tables] == [("kind", F1), ("kind.length", F1)]
    assert [(row.name, row.comparison.n) for row in tables[0].rows if row.comparison] == [("a", 2), ("b", 2)]
    assert len({row.difference_scale for row in tables[0].rows}) == 1


def test_an_unscored_run_has_no_slices_and_an_unknown_column_is_refused(tmp_path: Path) -> None:
    unscored = view_run(write_run(tmp_path / "unscored", [line(0, "x")], rows=[{"kind": "a"}]))
    assert run_slices(unscored, ["kind"]) == []
    with pytest.raises(ConfigError, match="--by colour"):
        embed([unscored], by=["colour"])


def test_repeats_of_a_line_count_once_in_its_slice(repeated: RunFolder) -> None:
    [table] = run_slices(view_run(repeated), ["kind"])
    found = {row.name: row.estimates[0] for row in table.rows}
    assert {name: (one.n, one.mean, one.n_failed) for name, one in found.items() if one} == {
        "a": (1, pytest.approx(0.3), 0),
        "b": (1, pytest.approx(0.6), 0),
    }


def test_a_slice_of_one_run_counts_its_failed_lines_as_the_run_does(tmp_path: Path) -> None:
    results = [line(number, None if number in (0, 1) else "a") for number in range(8)]
    rows = [{"kind": "ab"[number % 2]} for number in range(8)]
    run = write_run(tmp_path / "run", results, rows=rows, scores={"answer_match": {"f1": [0.0, None] + [0.8] * 6}})
    [table] = run_slices(view_run(run), ["kind"])
    slices = {row.name: row.estimates[0] for row in table.rows}
    assert {name: (estimate.n, estimate.n_failed) for name, estimate in slices.items() if estimate} == {
        "a": (4, 1),
        "b": (3, 0),
    }
    assert slices["a"] is not None
    assert slices["a"].mean == pytest.approx(0.6)


def test_the_failures_of_a_slice_are_said_for_each_side(tmp_path: Path) -> None:
    base = run_of_kinds(tmp_path / "base", [0.5] * 8)
    results = [line(number, None if number == 1 else "a") for number in range(8)]
    rows = [{"kind": "ab"[number % 2]} for number in range(8)]
    tuned = write_run(tmp_path / "tuned", results, rows=rows, scores={"answer_match": {"f1": [0.5, 0.0] + [0.5] * 6}})
    [table] = compared_slices([view_run(base), view_run(tuned)], compare_runs(base, tuned, by=["kind"]))
    failed = {row.name: (row.comparison.failed, len(row.answered)) for row in table.rows if row.comparison}
    assert failed == {"a": (Sides(), 0), "b": (Sides(candidate=1), 2)}
    assert [("failed" in sentence) for sentence in table.sentences] == [False, True]
    assert all("undecided" in sentence for sentence in table.sentences)
