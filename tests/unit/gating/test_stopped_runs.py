"""Gates about runs that a test watched: it speaks for its own rule, and an end that it made spoils all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phi3flow.errors import ConfigError
from phi3flow.gating import GateResult, gate_run, parse_rule
from phi3flow.records.comparisons import Difference, StoppedEarly
from phi3flow.runs.folder import RunFolder
from tests.support.folders.answered_runs import make_run

F1 = "answer_match.f1"
TESTED = "f1 better than baseline"
STOP = StoppedEarly(
    metric=F1,
    baseline="base",
    verdict="better",
    difference=Difference(mean=0.2, low=0.01, high=0.39),
    p=0.02,
    n=80,
    level=0.025,
    baseline_mean=0.4,
    candidate_mean=0.6,
    wins=40,
    losses=20,
    ties=20,
)
UNDECIDED = STOP.model_copy(update={"verdict": "undecided", "p": 0.03})

Make = Callable[..., RunFolder]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a run whose f1 is about ``mean`` on 80 lines."""

    def make(name: str, mean: float = 0.5, early: StoppedEarly | None = None, **counts: int) -> RunFolder:
        rng = np.random.default_rng(3)
        scores = {metric: list(mean + rng.uniform(-0.1, 0.1, 80)) for metric in ("f1", "chrf")}
        rows = [{"question": f"q{number}"} for number in range(80)]
        run = make_run(tmp_path / ".runs", name, rows, ["x"] * 80, scores={"answer_match": scores})
        manifest = run.manifest
        changes: dict[str, Any] = {"stopped_early": early, "counts": manifest.counts.model_copy(update=counts)}
        (run.path / "manifest.json").write_text(manifest.model_copy(update=changes).model_dump_json())
        return run

    return make


def _gate(run: RunFolder, baseline: RunFolder | None, *rules: str) -> GateResult:
    return gate_run(run, rules=[parse_rule(rule) for rule in rules], baseline=baseline)


def test_the_rule_that_the_test_was_about_is_decided_by_it(make):
    base, run = make("base"), make("tuned", early=STOP, total=300)
    [result] = _gate(run, base, TESTED).rules
    assert (result.outcome, result.value, result.low, result.high) == ("passed", 0.2, 0.01, 0.39)
    assert "97.5 % interval that allows for watching the run" in result.sentence
    assert "p = 0.0200" in result.sentence
    by_a_margin = _gate(run, base, "f1 better than baseline by 0.1", "f1 no worse than baseline by 0.05").rules
    assert [result.outcome for result in by_a_margin] == ["undecided", "passed"]
    assert [result.lines_needed for result in by_a_margin] == [None, None]


@pytest.mark.parametrize("rule", ["f1 >= 0.1", "chrf no worse than baseline by 0.5", "chrf better than baseline"])
def test_no_other_rule_holds_where_the_test_ended_the_run(make, rule):
    base, run = make("base"), make("tuned", early=STOP, total=300)
    with pytest.raises(ConfigError, match=r"run tuned ended when answer_match.f1 was decided against base"):
        _gate(run, base, rule, TESTED)


def test_counts_are_of_the_lines_that_ran(make):
    base, run = make("base"), make("tuned", early=STOP, total=300)
    _, failed, lines = _gate(run, base, TESTED, "failed <= 2%", "lines >= 80").rules
    assert (failed.value, failed.n, lines.outcome, lines.value) == (0.0, 80, "passed", 80)


def test_where_all_lines_ran_other_rules_are_decided_and_the_tested_one_still_by_its_test(make):
    base, run = make("base", 0.5), make("tuned", 0.9, early=UNDECIDED)
    rules = ["f1 >= 0.6", "chrf better than baseline", "chrf >= 0.6", "lines >= 80", TESTED]
    *others, tested = _gate(run, base, *rules).rules
    assert [result.outcome for result in others] == ["passed"] * 4
    assert (tested.outcome, tested.value) == ("undecided", 0.2), "p is 0.03, and the level 0.025"
    assert tested.lines_needed is None


def test_a_test_without_a_verdict_does_not_excuse_lines_that_did_not_run(make):
    run = make("tuned", early=UNDECIDED, total=300)
    with pytest.raises(ConfigError, match="220 of 300 lines were not run"):
        _gate(run, None, "f1 >= 0.1")


def test_against_another_baseline_the_test_of_a_run_that_ran_out_is_no_hindrance(make):
    make("base")
    other, run = make("other", 0.5), make("tuned", 0.9, early=UNDECIDED)
    [result] = _gate(run, other, TESTED).rules
    assert (result.outcome, result.value) == ("passed", pytest.approx(0.4, abs=0.05))
    assert "95 % interval" in result.sentence


def test_a_baseline_that_another_test_stopped_decides_nothing(make):
    stop = STOP.model_copy(update={"baseline": "first"})
    baseline, run = make("base", 0.5, early=stop, total=300), make("tuned", 0.9)
    [result] = _gate(run, baseline, TESTED).rules
    assert (result.outcome, result.lines_needed) == ("undecided", None)
    assert "base was stopped by its test of answer_match.f1 against first" in result.sentence


def test_a_baseline_that_was_tested_against_the_run_mirrors_its_test(make):
    stop = STOP.model_copy(update={"baseline": "tuned", "verdict": "worse"})
    stop = stop.model_copy(update={"difference": Difference(mean=-0.2, low=-0.39, high=-0.01)})
    baseline, run = make("base", early=stop, total=300), make("tuned")
    [result] = _gate(run, baseline, TESTED).rules
    assert (result.outcome, result.value, result.low) == ("passed", 0.2, 0.01)
    assert "97.5 % interval that allows for watching the run" in result.sentence
