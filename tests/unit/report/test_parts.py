"""The report's newer parts: sorted differences, slices, tokens, the data's card, conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.records.runs import TokenTotal
from phi3flow.report.data_view import DataViews
from phi3flow.report.embedded_lines import embed, rest_of_ids, short_ids
from phi3flow.report.figures import Scale
from phi3flow.report.gains import GainsFigure, gains_figure
from phi3flow.report.run_view import view_run
from phi3flow.report.slice_tables import compared_slices, run_slices
from phi3flow.report.tokens_view import price, token_rows
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, write_run

F1 = "answer_match.f1"


def scored_run(folder: Path, scores: Sequence[float | None], **manifest: object) -> RunFolder:
    """Return a run with one line a score, of kinds a and b in turn."""
    results = [line(number, f"answer {number}") for number in range(len(scores))]
    rows = [{"kind": "ab"[number % 2]} for number in range(len(scores))]
    return write_run(folder, results, rows=rows, scores={"answer_match": {"f1": scores}}, **manifest)


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


@given(st.floats(-1, 1), st.floats(0.01, 10))
def test_a_reversed_axis_mirrors_the_plain_one(value: float, reach: float) -> None:
    plain, reversed_ = Scale(-reach, reach), Scale(reach, -reach)
    assert reversed_.percent(value) == pytest.approx(100 - plain.percent(value), abs=0.002)


def test_each_column_and_metric_has_a_table_of_slices(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / name, [0.1, 0.2, 0.3, shift]) for name, shift in (("base", 0.4), ("tuned", 0.9))]
    tables = compared_slices([view_run(run) for run in runs], compare_runs(*runs, by=["kind", "kind.length"]))
    assert [(table.column, table.metric) for table in tables] == [("kind", F1), ("kind.length", F1)]
    assert [(row.name, row.comparison.n) for row in tables[0].rows if row.comparison] == [("a", 2), ("b", 2)]
    assert len({row.difference_scale for row in tables[0].rows}) == 1


def test_an_unscored_run_has_no_slices_and_an_unknown_column_is_refused(tmp_path: Path) -> None:
    unscored = view_run(write_run(tmp_path / "unscored", [line(0, "x")], rows=[{"kind": "a"}]))
    assert run_slices(unscored, ["kind"]) == []
    with pytest.raises(ConfigError, match="--by colour"):
        embed([unscored], by=["colour"])


def test_slices_of_the_lines_are_embedded_by_their_place(tmp_path: Path) -> None:
    data = embed([view_run(scored_run(tmp_path / "run", [0.1, 0.2, 0.3]))], by=["kind"])
    assert data["slices"] == [{"column": "kind", "values": ["a", "b"], "of": [0, 1, 0]}]


@pytest.mark.parametrize(
    ("cost", "written"), [(None, "–"), (0.0, "0.00"), (12.345, "12.35"), (0.01234, "0.0123"), (0.0000123, "0.0000123")]
)
def test_a_cost_keeps_the_digits_that_it_needs(cost: float | None, written: str) -> None:
    assert price(cost) == written


def test_lines_whose_tokens_nobody_counted_are_told(tmp_path: Path) -> None:
    total = TokenTotal(prompt_tokens=10, completion_tokens=5, n_endpoint=1, n_unknown=2)
    run = view_run(write_run(tmp_path / "run", [line(n, "x") for n in range(3)], tokens=total))
    [row] = token_rows([run])
    assert (row.counted_by, row.a_line, row.cost) == ("endpoint 1, nobody 2", "15.0", "–")
    without = view_run(write_run(tmp_path / "without", [line(0, "x")]))
    assert token_rows([without]) == []
    assert [row.name for row in token_rows([without, run])] == ["without", "run"]


def test_only_shared_conversations_are_numbered(tmp_path: Path) -> None:
    names = ["x", None, "y", "x", 7, 7]
    rows = [{} if name is None else {"conversation_id": name} for name in names]
    run = write_run(tmp_path / "run", [line(n, "a") for n in range(6)], rows=rows)
    assert embed([view_run(run)])["lines"]["conversation"] == [0, None, None, 0, 1, 1]


def test_an_id_and_its_rest_make_the_whole(tmp_path: Path) -> None:
    ids = ["0" * 12 + "a" * 52, "1" * 64 + "#2", "own"]
    assert rest_of_ids(ids) == ["a" * 52, "1" * 52, ""]
    assert short_ids(ids) == ["0" * 12, "1" * 12 + "#2", "own"]


def test_data_that_runs_share_are_read_once(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "a", [1.0])
    manifest = first.manifest
    second = scored_run(tmp_path / "b", [1.0], data=manifest.data, data_sha256=manifest.data_sha256)
    data = DataViews()
    assert data.of(first) is data.of(second)
    assert data.of(first).facts == {}
    assert data.of(first).leaked == frozenset()


@pytest.fixture
def repeated(tmp_path: Path) -> RunFolder:
    """A run of two lines of one conversation, each of which ran three times; the last time the second failed."""
    answers = ["a", "b", "a", "b", "a", None]
    ids = ["x", "y", "x~1", "y~1", "x~2", "y~2"]
    results = [line(number, answer, line_id=ids[number]) for number, answer in enumerate(answers)]
    rows = [{"kind": kind, "conversation_id": "c"} for kind in "ab"]
    scores = {"answer_match": {"f1": [0.0, 0.5, 0.3, 0.7, 0.6, None]}}
    return write_run(tmp_path / "run", results, rows=rows, scores=scores, parameters={"repeats": 3, "lines": 2})


def test_repeats_of_a_line_count_once_in_its_slice(repeated: RunFolder) -> None:
    [table] = run_slices(view_run(repeated), ["kind"])
    found = {row.name: row.estimates[0] for row in table.rows}
    assert {name: (one.n, one.mean, one.n_failed) for name, one in found.items() if one} == {
        "a": (1, pytest.approx(0.3), 0),
        "b": (1, pytest.approx(0.6), 0),
    }


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


def test_every_repeat_of_a_conversation_is_one_of_its_own(repeated: RunFolder) -> None:
    assert embed([view_run(repeated)])["lines"]["conversation"] == [0, 0, 1, 1, 2, 2]
