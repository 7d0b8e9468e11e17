"""The verdict: better, worse or not shown, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phi3flow.comparison.compare import compare_runs
from phi3flow.report.headline import comparison_headline, run_headline
from phi3flow.report.run_view import view_run
from tests.support.folders.run_folders import line, scored_run, write_run


def verdict(tmp_path: Path, before: Sequence[float | None], after: Sequence[float | None], metric: str = "f1") -> str:
    """Return the verdict on two runs with these scores."""
    base, tuned = (
        scored_run(tmp_path / name, scores, metric=metric) for name, scores in (("base", before), ("tuned", after))
    )
    comparison = compare_runs(base, tuned)
    return str(comparison_headline(comparison, baseline=view_run(base), candidate=view_run(tuned)))


def test_the_verdict_says_better_where_it_is_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.2, 0.1, 0.3] * 5, [0.9, 0.8, 0.7, 0.9] * 5)
    assert sentence.startswith("tuned is better than base on f1: 0.825 against 0.175, a difference of +0.650 (95 % int")
    assert sentence.endswith("over 20 paired lines.")


def test_the_verdict_says_worse_where_it_is_shown(tmp_path: Path) -> None:
    assert verdict(tmp_path, [0.9, 0.8] * 10, [0.1, 0.2] * 10).startswith("tuned is worse than base on f1: ")


def test_the_verdict_claims_no_difference_that_is_not_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.9, 0.5], [0.9, 0.2, 0.6])
    assert sentence.startswith("Undecided whether tuned or base is better on f1: ")
    assert "; few lines: 3 of them show a difference of " in sentence


def test_the_verdict_is_undecided_where_no_line_differs(tmp_path: Path) -> None:
    assert verdict(tmp_path, [0.1, 0.9], [0.1, 0.9]).startswith("Undecided whether tuned or base is better on f1: ")


def test_a_metric_out_of_a_hundred_has_fewer_decimals(tmp_path: Path) -> None:
    assert ": 60.0 against 20.0, a difference of +40.0 (" in verdict(tmp_path, [10, 30] * 9, [55, 65] * 9, "bleu")


def test_a_single_run_is_judged_by_its_headline_metric(tmp_path: Path) -> None:
    results = [line(0, "a"), line(1, "b"), line(2, None)]
    scores = {"answer_match": {"f1": [0.5, 0.5, None], "value_accuracy": [1.0, 0.0, None]}}
    sentence = str(run_headline(view_run(write_run(tmp_path / "run", results, scores=scores))))
    assert sentence.startswith("run: value accuracy 0.500 (95 % interval ")
    assert sentence.endswith("over 2 lines; 1 line failed, none to which it applies.")
