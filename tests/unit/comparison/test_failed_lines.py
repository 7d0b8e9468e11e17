"""Lines that failed: what they count as in a comparison, when they decide, and what is said of them."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.records.comparisons import Sides
from phi3flow.records.lines import LineError
from phi3flow.records.scores import LineScore, RunMetrics
from phi3flow.runs.folder import RunFolder
from tests.support.folders.compared_runs import rescored, scored
from tests.support.folders.run_folders import line, ruler, write_run

ACCURACY, F1 = "answer_match.value_accuracy", "answer_match.f1"


def test_failing_on_the_lines_that_it_gets_wrong_does_not_make_a_run_better(tmp_path: Path) -> None:
    """55 right answers against 56 of 120, and 55 lines failed of those that were wrong: +0.185 of 65 lines once."""
    rng = random.Random(0)
    before = [1.0] * 56 + [0.0] * 64
    after = [1.0] * 55 + [0.0] * 65
    rng.shuffle(before)
    rng.shuffle(after)
    wrong = [number for number, score in enumerate(after) if score == 0.0][:55]
    base = scored(tmp_path, "base", {"value_accuracy": before})
    tuned = scored(tmp_path, "tuned", {"value_accuracy": after}, failed=wrong)
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics[ACCURACY]
    assert (metric.n, metric.failed, comparison.failed) == (120, Sides(candidate=55), Sides(candidate=55))
    assert metric.difference.mean == pytest.approx(-1 / 120)
    assert metric.answered_only is not None
    assert (metric.answered_only.n, metric.verdict_answered_only) == (65, "better")
    assert metric.verdict == "undecided"
    sentence = describe_verdict(ACCURACY, comparison)
    assert "undecided: -0.008 (95 % interval" in sentence
    assert "55 lines of tuned failed)" in sentence
    assert "The failed lines decide: undecided where they count as the worst score, better over the lines" in sentence
    assert "Both answered 65 lines: better, +0." in sentence


def test_two_readings_that_agree_decide_and_the_failures_are_said(tmp_path: Path) -> None:
    base = scored(tmp_path, "base", {"f1": [0.2, 0.3, 0.1, 0.4] * 20}, failed=[0, 1])
    tuned = scored(tmp_path, "tuned", {"f1": [0.8, 0.7, 0.9, 0.6] * 20}, failed=[5])
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics[F1]
    assert (metric.verdict, metric.verdict_answered_only, metric.failed) == (
        *("better", "better"),
        Sides(baseline=2, candidate=1),
    )
    assert "2 lines of base and 1 line of tuned failed" in describe_verdict(F1, comparison)


def test_a_metric_that_some_lines_lack_counts_the_failed_lines_that_it_applies_to(tmp_path: Path) -> None:
    values = [1.0, 0.0, None, None] * 20
    base = scored(tmp_path, "base", {"value_accuracy": values, "f1": [0.5] * 80})
    tuned = scored(tmp_path, "tuned", {"value_accuracy": values, "f1": [0.5] * 80}, failed=range(40))
    metrics = compare_runs(base, tuned).metrics
    assert (metrics[ACCURACY].n, metrics[ACCURACY].failed.candidate) == (40, 20)
    assert (metrics[F1].n, metrics[F1].failed.candidate) == (80, 40)


def test_where_lower_is_better_a_failed_line_counts_as_the_top(tmp_path: Path) -> None:
    def counted(score: LineScore) -> dict[str, object]:
        return {"counted_as": {"defect_rate": 1.0}} if not score.answered else {}

    base = scored(tmp_path, "base", {"defect_rate": [0.0] * 40})
    tuned = scored(tmp_path, "tuned", {"defect_rate": [0.0] * 40}, failed=range(20))
    for run in (base, tuned):
        rescored(run, line=counted, lower_is_better=["defect_rate"])
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics["answer_match.defect_rate"]
    assert (metric.difference.mean, metric.losses, metric.wins) == (0.5, 20, 0)
    assert metric.verdict == "undecided", "the lines that both answered show nothing"
    assert "worse where they count as the worst score" in (metric.reason or "")
    assert "lower is better" in describe_verdict("answer_match.defect_rate", comparison)


def test_a_candidate_all_of_whose_lines_failed_is_not_left_out(tmp_path: Path) -> None:
    base = scored(tmp_path, "base", {"f1": [0.6, 0.8] * 20})
    tuned = scored(tmp_path, "tuned", {"f1": [0.6, 0.8] * 20}, failed=range(40))
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics[F1]
    assert (metric.n, metric.baseline, metric.candidate) == (40, pytest.approx(0.7), 0.0)
    assert metric.answered_only is not None
    assert (metric.answered_only.n, metric.verdict, metric.verdict_answered_only) == (0, "undecided", "undecided")
    assert "40 lines of tuned failed" in describe_verdict(F1, comparison)


@pytest.mark.parametrize("failed", [([3], [4]), ([], [4])])
def test_a_metric_without_a_range_is_undecided_while_failures_differ(
    tmp_path: Path, failed: tuple[list[int], list[int]]
) -> None:
    before, after = list(np.linspace(100, 140, 40)), list(np.linspace(120, 170, 40))
    base = scored(tmp_path, "base", {"words": before}, failed=failed[0])
    tuned = scored(tmp_path, "tuned", {"words": after}, failed=failed[1])
    metric = compare_runs(base, tuned).metrics["answer_match.words"]
    assert (metric.verdict, metric.verdict_answered_only) == ("undecided", "better")
    assert f"{len(failed[0]) + 1} failed lines count as" in (metric.reason or "")


def test_a_metric_without_a_range_is_decided_where_the_same_lines_failed(tmp_path: Path) -> None:
    before, after = list(np.linspace(100, 140, 40)), list(np.linspace(120, 161, 40))
    base = scored(tmp_path, "base", {"words": before}, failed=[7])
    tuned = scored(tmp_path, "tuned", {"words": after}, failed=[7])
    metric = compare_runs(base, tuned).metrics["answer_match.words"]
    assert (metric.n, metric.verdict) == (39, "better")


def test_a_failed_line_of_which_nobody_can_say_whether_a_metric_applies_does_not_where_the_other_run_says_so(
    tmp_path: Path,
) -> None:
    def unknown(score: LineScore) -> dict[str, object]:
        return {"counted_as": {"f1": None}} if not score.answered else {}

    before, after = [0.1, 0.2] * 20 + [None], [0.7, 0.9] * 20 + [0.5]
    base = scored(tmp_path, "base", {"f1": before})
    tuned = rescored(scored(tmp_path, "tuned", {"f1": after}, failed=[40]), line=unknown)
    metric = compare_runs(base, tuned).metrics[F1]
    assert (metric.verdict, metric.failed) == ("better", Sides())


def test_a_judges_failure_is_left_out_on_both_sides_and_charged_to_nobody(tmp_path: Path) -> None:
    def lost(score: LineScore) -> dict[str, object]:
        if score.line_number in (1, 2):
            return {"scores": {"f1": None}, "failures": {"f1": "the verdict was no number"}}
        if score.line_number == 3:
            error = LineError(type="RateLimitError", message="slow down")
            return {"scores": {}, "status": "Failed", "error": error, "failures": {"f1": "its scoring failed"}}
        return {}

    base = scored(tmp_path, "base", {"f1": [0.2, 0.3, 0.1, 0.4] * 10})
    tuned = rescored(scored(tmp_path, "tuned", {"f1": [0.8, 0.7, 0.9, 0.6] * 10}), line=lost)
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics[F1]
    assert (metric.n, metric.failed, metric.unscored, metric.verdict) == (37, Sides(), Sides(candidate=3), "better")
    (note,) = comparison.notes
    assert note.startswith(
        "3 lines of tuned without a score of answer_match (the verdict was no number): phi3flow score "
    )


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        (
            {"f1": "refused"},
            "scoring failed more often on one side (0 lines of the baseline, 15 lines of the candidate)",
        ),
        ({}, "it is null more often on one side (0 lines of the baseline, 15 lines of the candidate where the other"),
    ],
)
def test_a_score_that_one_side_lacks_more_often_decides_nothing(tmp_path: Path, failures, reason: str) -> None:
    def lost(score: LineScore) -> dict[str, object]:
        return {"scores": {"f1": None}, "failures": failures} if score.line_number < 15 else {}

    base = scored(tmp_path, "base", {"f1": [0.2, 0.3, 0.1, 0.4] * 10})
    tuned = rescored(scored(tmp_path, "tuned", {"f1": [0.8, 0.7, 0.9, 0.6] * 10}), line=lost)
    for metric in (compare_runs(base, tuned).metrics[F1], compare_runs(tuned, base).metrics[F1]):
        assert (metric.n, metric.verdict) == (25, "undecided")
        assert (metric.difference.low or 0) * (metric.difference.high or 0) > 0
    assert reason in (compare_runs(base, tuned).metrics[F1].reason or "")


def test_a_few_nulls_that_the_other_run_has_scores_for_are_said(tmp_path: Path) -> None:
    def lost(score: LineScore) -> dict[str, object]:
        return {"scores": {"f1": None}} if score.line_number < 3 else {}

    base = scored(tmp_path, "base", {"f1": [0.2, 0.3, 0.1, 0.4] * 10})
    tuned = rescored(scored(tmp_path, "tuned", {"f1": [0.8, 0.7, 0.9, 0.6] * 10}), line=lost)
    metric = compare_runs(base, tuned).metrics[F1]
    assert (metric.n, metric.verdict) == (37, "better")
    assert "left out: it is null on 0 lines of the baseline, 3 lines of the candidate" in (metric.reason or "")


def test_a_metric_that_is_null_in_both_runs_does_not_apply(tmp_path: Path) -> None:
    def lost(score: LineScore) -> dict[str, object]:
        return {"scores": {"f1": None}} if score.line_number < 15 else {}

    base, tuned = (
        rescored(scored(tmp_path, name, {"f1": column * 10}), line=lost)
        for name, column in (("base", [0.2, 0.3, 0.1, 0.4]), ("tuned", [0.8, 0.7, 0.9, 0.6]))
    )
    metric = compare_runs(base, tuned).metrics[F1]
    assert (metric.n, metric.verdict, metric.reason) == (25, "better", None)


def test_left_out_is_the_spoken_choice_and_is_said(tmp_path: Path) -> None:
    base = scored(tmp_path, "base", {"f1": [0.2, 0.3, 0.1, 0.4] * 40})
    tuned = scored(tmp_path, "tuned", {"f1": [0.8, 0.7, 0.9, 0.6] * 40}, failed=range(60))
    for run in (base, tuned):
        rescored(run, failed_lines="left out")
    comparison = compare_runs(base, tuned)
    metric = comparison.metrics[F1]
    assert (metric.n, metric.verdict, metric.answered_only, metric.failed.candidate) == (100, "better", None, 60)
    sentence = describe_verdict(F1, comparison)
    assert "60 lines of tuned failed" in sentence
    assert "Failed lines are left out." in sentence


def test_what_the_endpoint_caused_is_named_with_what_tries_it_again(tmp_path: Path) -> None:
    run = scored(tmp_path, "tuned", {"f1": [0.5] * 10}, failed=[1, 2, 3])
    errors = {
        1: LineError(type="EndpointError", message="busy", status_code=503),
        2: LineError(type="TimeoutError", message="no answer within the time limit"),
        3: LineError(type="EndpointError", message="blocked", status_code=400),
    }
    rescored(run, line=lambda score: {"error": errors.get(score.line_number)})
    base = scored(tmp_path, "base", {"f1": [0.5] * 10})
    (note,) = compare_runs(base, run).notes
    assert note == (
        "2 lines of tuned failed by the endpoint (503: 1, TimeoutError: 1): give its batch-run command again, "
        "which tries them again, then score it (phi3flow runs show tuned)"
    )


def test_a_corpus_metric_counts_an_empty_answer(tmp_path: Path) -> None:
    full, empty = [10.0, 12.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0], [0.0] * 10

    def counted(score: LineScore) -> dict[str, object]:
        return {"counts": {"bleu": full if score.answered else empty}}

    base = rescored(scored(tmp_path, "base", {"f1": [0.5] * 20}), line=counted)
    tuned = rescored(scored(tmp_path, "tuned", {"f1": [0.5] * 20}, failed=range(10)), line=counted)
    metric = compare_runs(base, tuned).metrics["answer_match.corpus_bleu"]
    assert (metric.n, metric.failed) == (20, Sides(candidate=10))
    assert metric.answered_only is not None
    assert metric.answered_only.n == 10
    assert metric.answered_only.difference.mean == 0.0


def test_a_line_that_ran_repeatedly_counts_with_its_failed_executions_and_without(tmp_path: Path) -> None:
    """Two lines, twice each; the second time the first line failed in the candidate."""
    empty, full = [0.0] * 10, [9.0, 9.0, 9.0, 8.0, 7.0, 6.0, 9.0, 8.0, 7.0, 6.0]

    def written(name: str, failed: Collection[int]) -> RunFolder:
        results = [line(number, None if number in failed else "a") for number in range(4)]
        parameters = {"repeats": 2, "lines": 2}
        run = write_run(tmp_path / name, results, rows=[{"kind": "a"}] * 2, parameters=parameters)
        scores = [
            LineScore(
                line_number=number,
                line_id=f"id{number % 2}" + "~1" * (number > 1),
                status="Failed" if number in failed else "Completed",
                answered=number not in failed,
                scores={} if number in failed else {"f1": 0.8},
                counted_as={"f1": 0.0} if number in failed else {},
                counts={"bleu": empty if number in failed else full},
            )
            for number in range(4)
        ]
        run.write_scores("answer_match", scores, RunMetrics(metrics={}, evaluation=ruler("answer_match")))
        return run

    comparison = compare_runs(written("base", ()), written("tuned", [2]))
    f1, bleu = comparison.metrics[F1], comparison.metrics["answer_match.corpus_bleu"]
    assert (comparison.n_paired, comparison.failed, f1.failed) == (2, Sides(candidate=1), Sides(candidate=1))
    assert (f1.baseline, f1.candidate) == (pytest.approx(0.8), pytest.approx(0.6))
    assert f1.answered_only is not None
    assert (f1.answered_only.n, f1.answered_only.candidate) == (2, pytest.approx(0.8))
    assert bleu.answered_only is not None
    assert (bleu.n, bleu.answered_only.n, bleu.answered_only.difference.mean) == (2, 2, 0.0)
