"""Rules about counts: of lines of the data, however often each ran and whoever scored them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi3flow.gating import RuleResult, gate_run, parse_rule
from phi3flow.records.lines import LineError
from phi3flow.records.runs import RunParameters
from phi3flow.records.scores import LineScore, RunMetrics
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import estimate_mean
from tests.support.folders.run_folders import line, ruler, write_run

LINES, REPEATS = 10, 3
UNSCORED = LineError(type="ValueError", message="no number")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Ten lines that ran three times each."""
    return _run(tmp_path)


def _run(folder: Path, *, failed: Iterable[int] = ()) -> RunFolder:
    """Return ten lines that ran three times each; the executions ``failed`` failed."""
    failures = set(failed)
    results = [
        line(number, None if number in failures else "x", line_id=f"{number % LINES}~{number // LINES}")
        for number in range(LINES * REPEATS)
    ]
    rows = [{"question": f"q{number}"} for number in range(LINES)]
    return write_run(folder / "a", results, rows=rows, parameters=RunParameters(repeats=REPEATS, lines=LINES))


def _score(
    run: RunFolder, evaluation: str, *, unscored: Iterable[int] = (), failures: Mapping[int, str] | None = None
) -> None:
    """Score the run's executions: those ``unscored`` have no score, those of ``failures`` none in one metric."""
    without, partly = set(unscored), failures or {}
    scores = []
    for result in run.results():
        number, answered = result.line_number, result.status == "Completed"
        completed = answered and number not in without
        values: dict[str, Any] = {"f1": 0.5, "stars": 0.5} if completed else {}
        if metric := partly.get(number):
            del values[metric]
        scores.append(
            LineScore(
                line_number=number,
                line_id=result.line_id,
                status="Completed" if completed else "Failed",
                answered=answered,
                scores=values,
                failures={metric: "no number"} if metric else {},
                error=None if completed else result.error or UNSCORED,
            )
        )
    estimates = {name: estimate_mean([0.5] * LINES) for name in ("f1", "stars")}
    run.write_scores(evaluation, scores, RunMetrics(metrics=estimates, evaluation=ruler(evaluation)))


def _check(run: RunFolder, *rules: str) -> RuleResult:
    """Return the result of the first rule."""
    return gate_run(run, rules=[parse_rule(rule) for rule in rules]).rules[0]


def test_lines_that_half_of_their_executions_left_unscored_are_half_of_the_lines(run):
    _score(run, "answer_match", unscored=[*range(5), *range(10, 15), *range(20, 25)])
    result = _check(run, "failed <= 20%", "f1 >= 0.1")
    assert (result.outcome, result.value, result.n) == ("failed", 0.5, LINES)
    assert "5 of 10 lines failed in the run or in scoring: 50 %" in result.sentence
    assert "In the run: 0; in scoring: 5." in result.sentence


@pytest.mark.parametrize("executions", [[0, 1, 2], [0, 11, 22], [0, 10, 20], [3]])
def test_a_line_failed_where_any_of_its_executions_did(tmp_path, executions):
    lines = len({number % LINES for number in executions})
    failed = _run(tmp_path / "failed", failed=executions)
    assert _check(failed, "failed <= 5%").value == lines / LINES
    unscored = _run(tmp_path / "unscored")
    _score(unscored, "answer_match", unscored=executions)
    assert _check(unscored, "failed <= 5%").value == lines / LINES
    assert _check(unscored, "failed <= 5%", "f1 >= 0.1").value == lines / LINES


def test_lines_that_failed_in_the_run_and_in_scoring_count_once(tmp_path):
    run = _run(tmp_path, failed=[0, 1])
    _score(run, "answer_match", unscored=[10, 2])
    result = _check(run, "failed <= 5%", "f1 >= 0.1")
    assert (result.value, result.n) == (0.3, LINES)
    assert "In the run: 2; in scoring: 2." in result.sentence


def test_lines_of_several_evaluations_add_up_where_the_rules_name_them(run):
    _score(run, "answer_match", unscored=[0, 10])
    _score(run, "judge", unscored=[1, 22], failures={3: "stars", 14: "stars"})
    assert _check(run, "failed <= 5%", "answer_match.f1 >= 0.1").value == 0.1
    assert _check(run, "failed <= 5%", "judge.f1 >= 0.1").value == 0.2, "its stars are another metric"
    assert _check(run, "failed <= 5%", "judge.stars >= 0.1").value == 0.4
    assert _check(run, "failed <= 5%", "answer_match.f1 >= 0.1", "judge.stars >= 0.1").value == 0.5
    assert _check(run, "failed <= 5%").value == 0.5, "without a metric it is about every evaluation"


def test_a_metric_that_does_not_apply_to_a_line_did_not_fail_on_it(run):
    _score(run, "answer_match")
    scores = [score.model_copy(update={"scores": {"f1": 0.5, "stars": None}}) for score in run.scores("answer_match")]
    run.write_scores("answer_match", scores, run.metrics("answer_match"))
    assert _check(run, "failed <= 5%", "stars >= 0.1").value == 0.0


def test_lines_are_lines_of_the_data(run):
    _score(run, "answer_match")
    assert _check(run, "lines >= 11").outcome == "failed"
    assert (_check(run, "lines >= 10").outcome, _check(run, "lines >= 10").value) == ("passed", LINES)
    assert _check(run, "lines >= 11", "f1 >= 0.1").value == LINES
    _score(run, "answer_match", unscored=[0, 10, 20, 1])
    assert _check(run, "lines >= 10").value == LINES - 1, "a line has a score where any of its executions has"


def test_lines_that_only_count_as_the_worst_score_are_no_evidence(tmp_path):
    run = _run(tmp_path, failed=[0, 10, 20, 1, 11, 21])
    _score(run, "answer_match")
    metrics = run.metrics("answer_match")
    answered = {"f1": estimate_mean([0.5] * 8, n_failed=2)}
    run.write_scores("answer_match", run.scores("answer_match"), metrics.model_copy(update={"answered_only": answered}))
    result = _check(run, "lines >= 10", "f1 >= 0.1")
    assert (result.outcome, result.value) == ("failed", 8)
    assert "answer_match.f1 rests on 8 answered lines: not >= 10." in result.sentence
