"""The tables of metrics and of provenance."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.scores import Agreement, Judging
from phi3flow.report.run_view import view_run, view_runs
from phi3flow.report.tables import MetricTable, metric_table, provenance
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, ruler, scored_run, write_run


def test_metric_rows_lead_with_the_confirmatory_one_and_share_a_zero(tmp_path: Path) -> None:
    results = [line(number, "x") for number in range(4)]
    runs = [
        write_run(
            tmp_path / name,
            results,
            scores={"answer_match": {"bleu": [10.0, 20, 30, 40 + shift], "f1": [0.1, 0.2, 0.3, 0.4 + shift / 100]}},
        )
        for name, shift in (("base", 0), ("tuned", 20))
    ]
    table = metric_table([view_run(run) for run in runs], compare_runs(*runs))
    assert [row.name for row in table.rows] == ["answer_match.f1", "answer_match.bleu"]
    assert [row.confirmatory for row in table.rows] == [True, False]
    assert [row.scale.high for row in table.rows] == [1, 100]
    assert all(row.difference_scale.percent(0) == 50 for row in table.rows)


def test_provenance_marks_what_the_runs_do_not_share(tmp_path: Path) -> None:
    views = [view_run(scored_run(tmp_path / name, [1.0], variant=name)) for name in ("a", "b")]
    differing = {row.name for row in provenance(views) if row.differs}
    assert "variant" in differing
    assert "flow fingerprint" not in differing


def test_provenance_says_who_judged_and_how_far_the_verdicts_agree(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "a", [1.0])
    agreement = {"relevance": Agreement(alpha=0.8123, exact=0.9, within_sd=0.25, n=40)}
    uses = [ConnectionUse(name="judge", host="judge.example:443")]
    judging = Judging(connections=uses, model="gpt-4o", answered_as=["gpt-4o-2024"], repeats=3, agreement=agreement)
    run.write_scores(
        "answer_match",
        run.scores("answer_match"),
        run.metrics("answer_match").model_copy(update={"judging": judging}),
    )
    (judged,) = (row.values for row in provenance([view_run(run)]) if row.name == "scores of answer_match")
    assert judged[0].splitlines() == [
        "judged by gpt-4o, which answered as gpt-4o-2024 at judge (judge.example:443)",
        "relevance: Krippendorff's alpha 0.812; all 3 verdicts equal on 90.0% of 40 lines; standard deviation within a "
        "line 0.250",
    ]


def compared_table(*runs: RunFolder) -> MetricTable:
    """Return the table of a baseline and a candidate."""
    return metric_table(view_runs(runs), compare_runs(*runs))


def test_means_and_difference_of_a_comparison_are_of_the_same_lines(tmp_path: Path) -> None:
    results = [line(number, "a") for number in range(6)]
    base = write_run(tmp_path / "base", results, scores={"answer_match": {"f1": [0.1, 0.2, 0.3, 0.4, 0.9, 0.9]}})
    tuned = write_run(tmp_path / "tuned", results[:4], scores={"answer_match": {"f1": [0.2, 0.3, 0.4, 0.5]}})
    [row] = compared_table(base, tuned).rows
    before, after = row.estimates
    assert before is not None
    assert after is not None
    assert row.comparison is not None
    assert (before.mean, after.mean) == (pytest.approx(0.25), pytest.approx(0.35))
    assert row.comparison.difference.mean == pytest.approx(0.1)
    assert before.low is None  # its own interval is of six lines
    assert after.low is not None


def test_a_metric_of_one_run_is_its_own_estimate_and_one_that_is_not_compared_has_no_row(tmp_path: Path) -> None:
    results = [line(number, "a") for number in range(3)]
    scores = {"answer_match": {"f1": [0.1, 0.2, 0.3]}, "quality": {"fluency": [0.5, 0.5, 0.5]}}
    base = write_run(tmp_path / "base", results, scores=scores)
    tuned = write_run(tmp_path / "tuned", results, scores={**scores, "style": {"tone": [0.7, 0.7, 0.7]}})
    for name, fingerprint in (("quality", "a" * 64), ("style", "b" * 64)):
        metrics = tuned.metrics(name).model_copy(update={"evaluation": ruler(name, fingerprint)})
        tuned.write_scores(name, tuned.scores(name), metrics)
    rows = {row.name: row for row in compared_table(base, tuned).rows}
    assert list(rows) == ["answer_match.f1", "style.tone"]
    assert rows["style.tone"].comparison is None
    assert [estimate and estimate.n for estimate in rows["style.tone"].estimates] == [None, 3]


def test_where_lines_failed_the_answered_lines_stand_beside(tmp_path: Path) -> None:
    base = scored_run(tmp_path / "base", [0.5, 0.5, 0.5, 0.9])
    results = [line(number, "a" if number else None) for number in range(4)]
    tuned = write_run(tmp_path / "tuned", results, scores={"answer_match": {"f1": [0.0, 0.8, 0.8, 0.9]}})
    table = compared_table(base, tuned)
    [row] = table.rows
    assert [estimate and estimate.mean for estimate in row.estimates] == [pytest.approx(0.6), pytest.approx(0.625)]
    assert [estimate and estimate.mean for estimate in row.answered] == [pytest.approx(1.9 / 3), pytest.approx(2.5 / 3)]
    assert [estimate and estimate.n for estimate in row.answered] == [3, 3]
    assert "1 line of tuned failed" in table.sentences[0]


def test_scores_of_one_folder_name_by_two_flows_are_not_taken_for_each_other(tmp_path: Path) -> None:
    results = [line(number, "a") for number in range(3)]
    first, second = ruler("eval", "1" * 64), ruler("eval", "2" * 64)
    runs = []
    for name, rulers in (("base", (first, second)), ("tuned", (second, first))):
        run = write_run(tmp_path / name, results, scores={"eval": {"f1": [0.1] * 3}})
        for folder, measured in zip(("eval", "eval-other"), rulers, strict=True):
            scores = [
                score.model_copy(update={"scores": {"f1": 0.2 if measured is first else 0.8}})
                for score in run.scores("eval")
            ]
            metrics = run.metrics("eval").model_copy(update={"evaluation": measured, "sha256": None})
            (run.path / "scores" / folder).mkdir(exist_ok=True)
            (run.path / "scores" / folder / "metrics.json").write_text(metrics.model_dump_json())
            rows = "".join(score.model_dump_json() + "\n" for score in scores)
            (run.path / "scores" / folder / "scores.jsonl").write_text(rows)
        runs.append(run)
    views = view_runs(runs)
    assert [sorted(view.evaluations) for view in views] == [["eval-11111111", "eval-22222222"]] * 2
    for view in views:
        assert set(view.scores["eval-11111111.f1"].values()) == {0.2}
        assert set(view.scores["eval-22222222.f1"].values()) == {0.8}


def test_where_no_line_has_both_scores_each_run_keeps_its_own(tmp_path: Path) -> None:
    base = scored_run(tmp_path / "base", [0.5, None])
    tuned = scored_run(tmp_path / "tuned", [None, 0.7])
    table = compared_table(base, tuned)
    [row] = table.rows
    assert row.comparison is None
    assert [estimate and estimate.mean for estimate in row.estimates] == [0.5, 0.7]
    assert table.sentences == []
