"""A run that was stopped by its test is judged by that test, and by no other; all of its row is of the same lines."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from phi3flow.cli.terminal.comparison_tables import render_comparison
from phi3flow.comparison.compare import compare_runs, compare_with_baseline
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.records.comparisons import Difference, Sides, StoppedEarly
from phi3flow.runs.folder import RunFolder
from tests.support.folders.compared_runs import scored

F1 = "answer_match.f1"
STOP = StoppedEarly(
    metric=F1,
    baseline="base",
    verdict="better",
    difference=Difference(mean=0.2, low=0.05, high=0.35),
    p=0.01,
    n=70,
    level=0.025,
    baseline_mean=0.4,
    candidate_mean=0.6,
    wins=40,
    losses=20,
    ties=10,
    failed=Sides(candidate=0),
)


def _run(tmp_path: Path, name: str, early: StoppedEarly | None = None, score: float = 0.5) -> RunFolder:
    run = scored(tmp_path, name, {"f1": [score] * 80, "bleu": [score, score / 2] * 40})
    manifest = run.manifest.model_copy(update={"stopped_early": early})
    (run.path / "manifest.json").write_text(manifest.model_dump_json())
    return run


def _stop(**changes: Any) -> StoppedEarly:
    return STOP.model_copy(update=changes)


def test_a_row_is_what_the_test_found_and_nothing_else(tmp_path: Path) -> None:
    comparison = compare_runs(_run(tmp_path, "base"), _run(tmp_path, "tuned", STOP))
    metric = comparison.metrics[F1]
    assert (metric.baseline, metric.candidate, metric.difference) == (0.4, 0.6, STOP.difference)
    assert (metric.wins, metric.losses, metric.ties, metric.n, metric.p) == (40, 20, 10, 70, 0.01)
    assert (metric.verdict, metric.method, metric.se, metric.lines_needed) == (
        *("better", "confidence sequence"),
        *(None, None),
    )
    assert "biased away from 0" in describe_verdict(F1, comparison)


def test_swapping_the_runs_mirrors_what_the_test_found(tmp_path: Path) -> None:
    metric = compare_runs(_run(tmp_path, "tuned", STOP), _run(tmp_path, "base")).metrics[F1]
    assert (metric.verdict, metric.baseline, metric.candidate) == ("worse", 0.6, 0.4)
    assert metric.difference == Difference(mean=-0.2, low=-0.35, high=-0.05)
    assert (metric.wins, metric.losses) == (20, 40)


def test_several_candidates_that_shared_the_level_while_they_ran_keep_their_verdicts(tmp_path: Path) -> None:
    base = _run(tmp_path, "base")
    compared = compare_with_baseline(base, [_run(tmp_path, name, _stop(p=0.02)) for name in ("first", "second")])
    assert [comparison.metrics[F1].verdict for comparison in compared] == ["better", "better"]
    assert [comparison.metrics[F1].p_holm for comparison in compared] == pytest.approx([0.04, 0.04])


def test_a_stop_at_a_level_that_was_not_shared_decides_nothing_among_several(tmp_path: Path) -> None:
    base = _run(tmp_path, "base")
    runs = [_run(tmp_path, name, _stop(p=0.04, level=0.05)) for name in ("first", "second")]
    metric = compare_with_baseline(base, runs)[0].metrics[F1]
    assert metric.verdict == "undecided"
    assert "not below the level that 2 tests share" in (metric.reason or "")
    assert compare_runs(base, runs[0]).metrics[F1].verdict == "better"


def test_a_run_that_ended_without_a_verdict_reports_the_same_test(tmp_path: Path) -> None:
    ended = _stop(verdict="undecided", p=0.2, difference=Difference(mean=0.05, low=-0.1, high=0.2), n=80)
    comparison = compare_runs(_run(tmp_path, "base"), _run(tmp_path, "tuned", ended, score=0.9))
    metric = comparison.metrics[F1]
    assert (metric.verdict, metric.difference.mean, metric.p) == ("undecided", 0.05, 0.2)
    assert metric.reason == "the test that watched its run gave no verdict on 80 lines"
    assert comparison.metrics["answer_match.bleu"].verdict == "better", "its lines were fixed beforehand"


def test_a_run_that_went_on_after_its_test_says_how_many_lines_that_has_not_seen(tmp_path: Path) -> None:
    ended = _stop(verdict="undecided", p=0.2, difference=Difference(mean=0.05, low=-0.1, high=0.2), n=30)
    metric = compare_runs(_run(tmp_path, "base"), _run(tmp_path, "tuned", ended, score=0.9)).metrics[F1]
    unseen = "the test that watched its run gave no verdict on 30 lines, and has not seen 50 that ran since"
    assert (metric.verdict, metric.n, metric.reason) == ("undecided", 30, unseen)


def test_other_metrics_of_a_run_that_was_stopped_and_other_baselines_decide_nothing(tmp_path: Path) -> None:
    base, other = _run(tmp_path, "base"), _run(tmp_path, "other")
    tuned = _run(tmp_path, "tuned", STOP, score=0.9)
    reason = "run tuned was stopped by its test of answer_match.f1 against base: its lines were not fixed beforehand"
    for metric in (compare_runs(base, tuned).metrics["answer_match.bleu"], compare_runs(other, tuned).metrics[F1]):
        assert (metric.verdict, metric.verdict_answered_only) == ("undecided", "undecided")
        assert (metric.reason or "").startswith(reason)


def test_a_run_of_the_first_builds_that_stopped_has_no_counts_in_place_of_zeros(tmp_path: Path) -> None:
    early = _stop(baseline_mean=None, candidate_mean=None, wins=0, losses=0, ties=0)
    metric = compare_runs(_run(tmp_path, "base"), _run(tmp_path, "tuned", early)).metrics[F1]
    assert (metric.wins, metric.losses, metric.ties, metric.baseline) == (None, None, None, None)
    assert metric.verdict == "better"


def test_the_metric_that_was_watched_is_what_a_comparison_is_made_for(tmp_path: Path) -> None:
    base, tuned = _run(tmp_path, "base"), _run(tmp_path, "tuned", _stop(metric="answer_match.bleu"))
    for runs in ((base, tuned), (tuned, base)):
        metrics = compare_runs(*runs).metrics
        assert [name for name, metric in metrics.items() if metric.confirmatory] == ["answer_match.bleu"]
        assert next(iter(metrics)) == "answer_match.bleu"
    other = compare_runs(_run(tmp_path, "other"), tuned).metrics
    assert next(iter(other)) == F1, "another baseline was not what it was watched against"


@pytest.mark.parametrize(("level", "share"), [(0.05, "95 %"), (0.05 / 3, "98.33 %")])
def test_the_interval_of_a_watched_run_is_called_what_it_is(tmp_path: Path, level: float, share: str) -> None:
    comparison = compare_runs(_run(tmp_path, "base"), _run(tmp_path, "tuned", _stop(level=level)))
    assert f"({share} interval +0.050 to +0.350" in describe_verdict(F1, comparison)
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render_comparison(comparison))
    [row] = [line for line in console.export_text().splitlines() if F1 in line and "[" in line]
    assert ("[+0.050, +0.350] (98.33 %)" in row) == (level < 0.05)
    assert comparison.metrics[F1].level == level
    assert {metric.level for name, metric in comparison.metrics.items() if name != F1} == {0.05}


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_stop_says_nothing_of_a_baseline_that_was_scored_again(tmp_path: Path, mirrored: bool) -> None:
    base = _run(tmp_path, "base")
    tuned = _run(tmp_path, "tuned", _stop(baseline_scores=base.scores_sha256("answer_match")), score=0.9)
    runs = (tuned, base) if mirrored else (base, tuned)
    assert compare_runs(*runs).metrics[F1].verdict == ("worse" if mirrored else "better")
    shutil.rmtree(base.path)
    base = _run(tmp_path, "base", score=0.95)
    comparison = compare_runs(*((tuned, base) if mirrored else (base, tuned)))
    for metric in comparison.metrics.values():
        assert metric.verdict == "undecided"
        assert "against base, as that was scored then" in (metric.reason or "")
    assert comparison.metrics[F1].difference.mean == pytest.approx(0.05 if mirrored else -0.05)


def test_a_test_without_a_verdict_does_not_speak_for_a_baseline_that_was_scored_again(tmp_path: Path) -> None:
    base = _run(tmp_path, "base")
    ended = _stop(verdict="undecided", p=0.2, baseline_scores=base.scores_sha256("answer_match"))
    tuned = _run(tmp_path, "tuned", ended, score=0.9)
    assert compare_runs(base, tuned).metrics[F1].p == 0.2
    shutil.rmtree(base.path)
    metric = compare_runs(_run(tmp_path, "base", score=0.6), tuned).metrics[F1]
    assert (metric.verdict, metric.baseline, metric.method) == ("better", pytest.approx(0.6), "paired t")
