"""The verdict in a sentence: better, worse, equivalent or undecided, with what failed and why nothing is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.margins import parse_margins
from phi3flow.records.comparisons import Difference, StoppedEarly
from phi3flow.records.lines import LineError
from phi3flow.records.scores import Estimate, LineScore, RunMetrics
from phi3flow.report.headline import comparison_headline, run_headline, unscored_headline
from phi3flow.report.run_view import view_run
from phi3flow.runs.folder import RunFolder
from tests.support.folders.compared_runs import scored
from tests.support.folders.run_folders import line, ruler, scored_run, write_run
from tests.support.folders.version_1_run import version_1_run


def headline(base: RunFolder, tuned: RunFolder, metrics: Sequence[str] | None = None, margin: str = "") -> str:
    """Return the verdict on two runs."""
    margins = parse_margins([margin] if margin else [])
    comparison = compare_runs(base, tuned, metrics=metrics, margins=margins)
    return str(comparison_headline(comparison, baseline=view_run(base), candidate=view_run(tuned)))


def verdict(
    tmp_path: Path,
    before: Sequence[float | None],
    after: Sequence[float | None],
    metric: str = "f1",
    *,
    margin: str = "",
    lower_is_better: bool = False,
) -> str:
    """Return the verdict on two runs with these scores."""
    runs = [scored_run(tmp_path / name, scores, metric=metric) for name, scores in (("base", before), ("tuned", after))]
    if lower_is_better:
        for run in runs:
            metrics = run.metrics("answer_match").model_copy(update={"lower_is_better": [metric]})
            run.write_scores("answer_match", run.scores("answer_match"), metrics)
    return headline(*runs, margin=margin)


def run_with_failures(folder: Path, scores: Sequence[float | None], *, n: int, metric: str = "f1") -> RunFolder:
    """Write a run of ``n`` lines, whose first have these scores, and failed where the score is None; the others tie."""
    results = [line(k, None if k < len(scores) and scores[k] is None else "a") for k in range(n)]
    column = [(scores[k] or 0.0) if k < len(scores) else 0.5 for k in range(n)]
    return write_run(folder, results, scores={"answer_match": {metric: column}})


def test_the_verdict_says_better_where_it_is_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.2, 0.1, 0.3] * 15, [0.9, 0.8, 0.7, 0.9] * 15)
    assert sentence.startswith("tuned is better than base on f1: 0.825 against 0.175, a difference of +0.650 (95 % int")
    assert sentence.endswith("over 60 paired lines.")


def test_the_verdict_says_worse_where_it_is_shown(tmp_path: Path) -> None:
    assert verdict(tmp_path, [0.9, 0.8] * 10, [0.1, 0.2] * 10).startswith("tuned is worse than base on f1: ")


def test_the_verdict_claims_no_difference_that_is_not_shown(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.9, 0.5], [0.9, 0.2, 0.6])
    assert sentence.startswith("Undecided whether tuned or base is better on f1: ")
    assert "; few lines: 3 of them leave " in sentence


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


def test_equivalence_is_said_with_its_margin(tmp_path: Path) -> None:
    scores = [0.1, 0.9, 0.5, 0.3] * 100
    sentence = verdict(tmp_path, scores, scores, margin="0.05")
    assert sentence.startswith("tuned is equivalent to base on f1 within 0.05: ")


def test_a_lack_of_evidence_is_no_equality(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.1, 0.9] * 5, [0.1, 0.9] * 5)
    assert sentence.startswith("Undecided whether")
    assert not any(word in sentence for word in ("no difference", "same", "equal", "equivalent"))


def test_where_lower_is_better_the_sentence_says_so(tmp_path: Path) -> None:
    sentence = verdict(tmp_path, [0.8, 0.9] * 20, [0.1, 0.2] * 20, lower_is_better=True)
    assert sentence.startswith("tuned is better than base on f1: 0.150 against 0.850, a difference of −0.700 (")
    assert sentence.endswith("over 40 paired lines; lower is better.")


def test_the_verdict_names_the_failures_of_each_side(tmp_path: Path) -> None:
    base = run_with_failures(tmp_path / "base", [None] * 2 + [0.0] * 60, n=100)
    tuned = run_with_failures(tmp_path / "tuned", [1.0] * 59 + [None] * 3, n=100)
    sentence = headline(base, tuned)
    assert sentence.startswith("tuned is better than base on f1: ")
    assert "over 100 paired lines; 2 lines of base and 3 lines of tuned failed" in sentence


def test_a_candidate_that_fails_where_it_would_be_wrong_is_not_better(tmp_path: Path) -> None:
    base = run_with_failures(tmp_path / "base", [0.0] * 55 + [1.0] * 65, n=120)
    tuned = run_with_failures(tmp_path / "tuned", [None] * 55 + [1.0] * 65, n=120)
    sentence = headline(base, tuned)
    assert sentence.startswith("Undecided whether tuned or base is better on f1: 0.542 against 0.542")
    assert "55 lines of tuned failed" in sentence


def test_failed_lines_to_which_the_metric_does_not_apply_are_named_too(tmp_path: Path) -> None:
    scores = {"answer_match": {"f1": [0.5, 0.6, None]}}
    base = write_run(tmp_path / "base", [line(n, "a") for n in range(3)], scores=scores)
    tuned = write_run(tmp_path / "tuned", [line(0, "a"), line(1, "b"), line(2, None)], scores=scores)
    assert "1 line of tuned failed, none to which it applies" in headline(base, tuned)


def test_scores_that_the_judge_owes_are_named_apart(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / name, [0.5, 0.6, 0.7, 0.8]) for name in ("base", "tuned")]
    lines = runs[1].scores("answer_match")
    lines[0] = lines[0].model_copy(update={"status": "Failed", "scores": {}, "failures": {"f1": "no number"}})
    runs[1].write_scores("answer_match", lines, runs[1].metrics("answer_match"))
    sentence = headline(*runs)
    assert "1 answer of tuned could not be scored" in sentence
    assert "line of tuned failed" not in sentence


def test_every_confirmatory_metric_has_its_verdict(tmp_path: Path) -> None:
    results = [line(number, "a") for number in range(80)]
    columns = {
        "base": {"f1": [0.1, 0.2] * 40, "rouge_l": [0.9, 0.8] * 40, "exact_match": [0.0, 1.0] * 40},
        "tuned": {"f1": [0.8, 0.9] * 40, "rouge_l": [0.2, 0.3] * 40, "exact_match": [0.0, 1.0] * 40},
    }
    runs = [write_run(tmp_path / name, results, scores={"answer_match": metrics}) for name, metrics in columns.items()]
    sentence = headline(*runs, metrics=["f1", "rouge_l", "exact_match"])
    assert sentence.startswith("tuned is better than base on f1, worse on rouge l, undecided on exact match: f1: 0.850")
    assert ". rouge l: 0.250 against 0.850, a difference of −0.600 (" in sentence


def test_a_run_that_stopped_early_says_that_its_difference_is_biased(tmp_path: Path) -> None:
    test = StoppedEarly(
        metric="answer_match.f1",
        baseline="base",
        verdict="better",
        difference=Difference(mean=0.3, low=0.1, high=0.5),
        p=0.01,
        n=50,
        baseline_mean=0.4,
        candidate_mean=0.7,
        wins=20,
        losses=5,
        ties=25,
    )
    base = scored_run(tmp_path / "base", [0.4] * 60)
    tuned = scored_run(tmp_path / "tuned", [0.7] * 60, stopped_early=test.model_dump())
    sentence = headline(base, tuned)
    assert "0.700 against 0.400, a difference of +0.300 (sequential 95 % interval +0.100 to +0.500) over 50" in sentence
    assert "biased" in sentence


def test_a_metric_of_the_whole_run_is_undecided_for_want_of_an_interval(tmp_path: Path) -> None:
    runs = [aggregated_run(tmp_path / name, mean) for name, mean in (("base", 0.6), ("tuned", 0.7))]
    sentence = headline(*runs)
    assert sentence.startswith("Undecided whether tuned or base is better on kappa: 0.700 against 0.600, a difference")
    assert "over 0" not in sentence
    assert sentence.endswith("only the whole run has it, not its lines: there is no interval and no test.")
    assert str(run_headline(view_run(runs[0]))) == (
        "base: kappa 0.600 over 2 lines; only the whole run has it, not its lines: there is no interval."
    )


def aggregated_run(folder: Path, mean: float) -> RunFolder:
    """Write a run that has no metric but its aggregation's."""
    run = write_run(folder, [line(0, "a"), line(1, "b")])
    metrics = RunMetrics(
        metrics={"kappa": Estimate(mean=mean, n=2, method="aggregation")}, evaluation=ruler("agreement")
    )
    lines = [
        LineScore(line_number=n, line_id=result.line_id, status="Completed") for n, result in enumerate(run.results())
    ]
    run.write_scores("agreement", lines, metrics)
    return run


def test_a_run_without_its_leading_metric_is_judged_by_the_next(tmp_path: Path) -> None:
    scores = {"answer_match": {"value_accuracy": [None, None], "f1": [0.5, 0.7]}}
    run = write_run(tmp_path / "run", [line(0, "a"), line(1, "b")], scores=scores)
    assert str(run_headline(view_run(run))).startswith("run: f1 0.600 (95 % interval ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "value accuracy applies to none of its lines."),
        (
            {"aggregation_error": LineError(type="ZeroDivisionError", message="division by zero.")},
            "the aggregation of answer_match failed: ZeroDivisionError: division by zero.",
        ),
    ],
)
def test_a_scored_run_without_a_figure_is_not_called_unscored(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    run = write_run(tmp_path / "run", [line(0, "a")], scores={"answer_match": {"value_accuracy": [None]}})
    metrics = run.metrics("answer_match").model_copy(update=change)
    run.write_scores("answer_match", run.scores("answer_match"), metrics)
    assert str(run_headline(view_run(run))) == f"run is scored, but has no figure: 1 of 1 line completed; {reason}"


def test_a_run_whose_judge_failed_on_all_lines_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line(0, "a")], scores={"quality": {"fluency": [None]}})
    [score] = run.scores("quality")
    failed = score.model_copy(update={"failures": {"fluency": "the verdict 'good' is no number"}})
    run.write_scores("quality", [failed], run.metrics("quality"))
    assert str(run_headline(view_run(run))).endswith(
        "1 answer could not be scored: quality.fluency: the verdict 'good' is no number."
    )


def test_the_sentence_of_one_run_tells_failed_lines_from_unscored_ones(tmp_path: Path) -> None:
    results = [line(n, "a" if n else None) for n in range(10)]
    run = write_run(tmp_path / "run", results, scores={"quality": {"fluency": [0.0] + [0.5] * 9}})
    metrics = run.metrics("quality")
    estimate = metrics.metrics["fluency"].model_copy(update={"n_failed": 3, "n_unscored": 2})
    counted = metrics.model_copy(update={"metrics": {"fluency": estimate}})
    run.write_scores("quality", run.scores("quality"), counted)
    sentence = str(run_headline(view_run(run)))
    assert "; 1 line failed, counted as the worst score; 2 answers could not be scored" in sentence
    run.write_scores("quality", run.scores("quality"), counted.model_copy(update={"failed_lines": "left out"}))
    assert "; 1 line failed, left out; 2 answers" in str(run_headline(view_run(run)))


def test_runs_that_share_no_line_are_not_said_to_be_scored_differently(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [line(0, "a", line_id=name)], scores={"answer_match": {"f1": [0.5]}})
        for name in ("base", "tuned")
    ]
    assert str(unscored_headline([view_run(run) for run in runs])) == (
        "These runs cannot be compared: they share no line."
    )


def test_where_the_baseline_failed_on_all_lines_nothing_else_is_said(tmp_path: Path) -> None:
    base = run_with_failures(tmp_path / "base", [None] * 30, n=30)
    tuned = scored_run(tmp_path / "tuned", [0.9] * 30)
    assert headline(base, tuned).startswith("Every line of base failed: EndpointError")


def test_how_failed_lines_count_is_said_only_where_the_scores_say_it(tmp_path: Path) -> None:
    run = version_1_run(tmp_path / ".runs")
    assert str(run_headline(view_run(run))).endswith("; 1 line failed.")


def test_the_metric_that_stopped_a_run_leads(tmp_path: Path) -> None:
    test = StoppedEarly(
        metric="answer_match.bleu",
        baseline="base",
        verdict="better",
        difference=Difference(mean=0.3, low=0.1, high=0.5),
        p=0.01,
        n=50,
        level=0.05 / 3,
        baseline_mean=0.4,
        candidate_mean=0.7,
    )
    base = scored(tmp_path, "base", {"f1": [0.4, 0.5] * 30, "bleu": [0.4, 0.5] * 30})
    tuned = scored(tmp_path, "tuned", {"f1": [0.6, 0.7] * 30, "bleu": [0.6, 0.7] * 30})
    manifest = tuned.manifest.model_copy(update={"stopped_early": test})
    (tuned.path / "manifest.json").write_text(manifest.model_dump_json())
    sentence = headline(base, tuned)
    assert sentence.startswith("tuned is better than base on bleu: 0.700 against 0.400")
    assert "(sequential 98.33 % interval +0.100 to +0.500)" in sentence
    assert headline(base, tuned, ["f1"]).startswith("Undecided whether tuned or base is better on f1")
