"""The tables of metrics and of provenance."""

from __future__ import annotations

from pathlib import Path

from phi3flow.comparison.compare import compare_runs
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.scores import Agreement, Judging
from phi3flow.report.run_view import view_run
from phi3flow.report.tables import metric_table, provenance
from tests.support.folders.run_folders import line, scored_run, write_run


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
