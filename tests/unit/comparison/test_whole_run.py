"""Metrics that only an evaluation flow's aggregation gives are compared as what they are: two numbers."""

from __future__ import annotations

from pathlib import Path

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.records.lines import LineError
from phi3flow.records.scores import Estimate
from phi3flow.runs.folder import RunFolder
from tests.unit.comparison.scored import rescored, scored


def _aggregated(tmp_path: Path, name: str, accuracy: float | None) -> RunFolder:
    metrics = {"accuracy": Estimate(mean=accuracy, n=4, method="aggregation")}
    return rescored(scored(tmp_path, name, {"f1": [0.5] * 4}), line=lambda _: {"scores": {}}, metrics=metrics)


def test_runs_that_have_only_aggregated_metrics_compare_with_that_said(tmp_path: Path) -> None:
    comparison = compare_runs(_aggregated(tmp_path, "base", 0.5), _aggregated(tmp_path, "tuned", 0.75))
    metric = comparison.metrics["answer_match.accuracy"]
    assert (metric.baseline, metric.candidate, metric.difference.mean, metric.difference.low) == (0.5, 0.75, 0.25, None)
    assert (metric.verdict, metric.confirmatory, metric.p, metric.p_holm) == ("undecided", True, None, None)
    assert describe_verdict("answer_match.accuracy", comparison) == (
        "answer_match.accuracy: undecided: +0.250. "
        "Only the whole run has it, not its lines: there is no interval and no test."
    )


def test_they_stand_beside_the_metrics_of_lines(tmp_path: Path) -> None:
    runs = [scored(tmp_path, name, {"f1": [0.1, 0.4, 0.5]}) for name in ("base", "tuned")]
    for run in runs:
        estimates = run.metrics("answer_match").metrics
        rescored(run, metrics={**estimates, "accuracy": Estimate(mean=0.5, n=3, method="aggregation")})
    assert list(compare_runs(*runs).metrics) == ["answer_match.f1", "answer_match.accuracy"]
    named = compare_runs(*runs, metrics=["accuracy"]).metrics
    assert [name for name, metric in named.items() if metric.confirmatory] == ["answer_match.accuracy"]


def test_a_metric_without_a_value_has_no_difference(tmp_path: Path) -> None:
    metric = compare_runs(_aggregated(tmp_path, "base", None), _aggregated(tmp_path, "tuned", 0.75)).metrics
    assert metric["answer_match.accuracy"].difference.mean is None


def test_an_aggregation_that_failed_is_said(tmp_path: Path) -> None:
    base, tuned = (scored(tmp_path, name, {"f1": [0.1, 0.4, 0.5]}) for name in ("base", "tuned"))
    rescored(tuned, aggregation_error=LineError(type="ZeroDivisionError", message="division by zero"))
    assert compare_runs(base, tuned).notes == [
        "the aggregation of answer_match failed on tuned: ZeroDivisionError: division by zero"
    ]
