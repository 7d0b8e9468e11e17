"""The test that ends a run needs both readings of failed lines, and its record is of the very lines that it tested."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import ConfigError
from phi3flow.flows import load_flow
from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import LineScore
from phi3flow.runner import StopRule
from phi3flow.runner.line_pairs import LinePair, MetricPairing
from phi3flow.runner.stop_test import StopTest
from tests.support.folders.run_folders import measured_by, scored_run
from tests.support.paths import FLOWS

EVALUATION = FLOWS / "eval" / "answer_match"
MAPPING = {"answer": "${run.outputs.answer}"}
FAILED = LineScore(line_number=0, line_id="", status="Failed", answered=False)
pairs = st.lists(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), max_size=4))


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> StopRule:
    """Stop when f1 is decided against a baseline of three lines."""
    run = measured_by(
        scored_run(tmp_path_factory.mktemp("rule") / "base", [0.0, 1.0, 0.5]), load_flow(EVALUATION), MAPPING
    )
    return StopRule.of(run, "answer_match.f1")


def _scored(value: float) -> LineScore:
    return LineScore(line_number=0, line_id="", status="Completed", scores={"f1": float(value)})


def _line(before: float, after: float | None) -> LinePair:
    if after is None:
        return LinePair((before, 0.0), None, Sides(candidate=1))
    return LinePair((before, after), (before, after))


def _tested(rule: StopRule, lines: list[LinePair], level: float = 0.05) -> StopTest:
    test = StopTest(rule, [1] * len(lines), level=level)
    for pair in lines:
        test.add([pair])
    return test


def test_a_candidate_that_fails_where_it_would_be_wrong_is_undecided(rule: StopRule) -> None:
    """Over answered lines alone it wins every one; with the failed ones it loses as many."""
    lines = [_line(0.0, 1.0), _line(1.0, None)] * 60
    outcome = _tested(rule, lines).outcome
    assert outcome.verdict == "undecided"
    assert outcome.reason == "failed lines decide: undecided with them, better over answered lines alone"
    assert (outcome.difference.mean, outcome.failed) == (0.0, Sides(candidate=60))
    assert outcome.answered_only is not None
    assert (outcome.answered_only.difference.mean, outcome.answered_only.n) == (1.0, 60)


def test_where_the_baseline_leaves_failed_lines_out_only_answers_are_tested(rule: StopRule) -> None:
    left_out = replace(rule, measured=rule.measured.model_copy(update={"failed_lines": "left out"}))
    outcome = _tested(left_out, [_line(0.0, 1.0), _line(1.0, None)] * 60).outcome
    assert (outcome.verdict, outcome.n, outcome.difference.mean, outcome.reason) == ("better", 60, 1.0, None)
    assert (outcome.failed, outcome.answered_only) == (Sides(candidate=60), None)


def test_it_is_worse_where_more_is_worse(rule: StopRule) -> None:
    lower = replace(rule, measured=rule.measured.model_copy(update={"lower_is_better": ["f1"]}))
    outcome = _tested(lower, [_line(0.0, 1.0)] * 20).outcome
    assert (outcome.verdict, outcome.losses, outcome.difference.mean) == ("worse", 20, 1.0)


def test_a_shared_level_takes_more_lines(rule: StopRule) -> None:
    def lines_until_decided(level: float) -> int:
        test = StopTest(rule, [1] * 300, level=level)
        count = 0
        while test.verdict == "undecided":
            test.add([_line(0.0, 1.0 if count % 4 else 0.0)])
            count += 1
        assert test.outcome.p <= test.outcome.level == level
        return count

    assert lines_until_decided(0.05) < lines_until_decided(0.01)


@given(pairs)
def test_means_difference_and_wins_are_of_the_same_lines(
    rule: StopRule, conversations: list[list[tuple[float, float]]]
) -> None:
    test = StopTest(rule, [len(lines) for lines in conversations], level=0.05)
    for lines in conversations:
        test.add([_line(*pair) for pair in lines])
    outcome, flat = test.outcome, [pair for lines in conversations for pair in lines]
    assert outcome.n == len(flat) == outcome.wins + outcome.losses + outcome.ties
    if not flat:
        assert (outcome.difference.mean, outcome.verdict) == (None, "undecided")
        return
    assert outcome.baseline_mean is not None
    assert outcome.candidate_mean is not None
    assert outcome.difference.mean == pytest.approx(outcome.candidate_mean - outcome.baseline_mean)
    assert outcome.wins == sum(after > before for before, after in flat)


def test_floats_that_differ_by_their_rounding_tie(rule: StopRule) -> None:
    outcome = _tested(rule, [_line(0.3, 0.1 + 0.2)] * 3).outcome
    assert (outcome.wins, outcome.losses, outcome.ties) == (0, 0, 3)


@pytest.mark.parametrize("share", [0.04, 0.12, 0.24])
def test_two_equal_runs_of_which_one_fails_where_it_is_wrong_are_seldom_decided(rule: StopRule, share: float) -> None:
    """The candidate fails on lines that it would get wrong; left out, those would make it better."""
    rng, decided, runs, pairing = random.Random(7), 0, 60, MetricPairing("f1", (0.0, 1.0), lower_is_better=False)
    for _ in range(runs):
        test = StopTest(rule, [1] * 300, level=0.05)
        for _ in range(300):
            before, after = float(rng.random() < 0.6), float(rng.random() < 0.6)
            fails = not after and rng.random() < share / 0.4
            scored = [
                LineScore(line_number=0, line_id="", status="Completed", scores={"f1": x}) for x in (before, after)
            ]
            failed = LineScore(line_number=0, line_id="", status="Failed", answered=False)
            test.add([pairing.pair(scored[0], failed if fails else scored[1])])
            if test.verdict != "undecided":
                decided += 1
                break
    assert decided / runs <= 0.05


def test_a_baseline_scored_by_another_flow_than_is_there_now_is_refused(tmp_path: Path) -> None:
    flow = replace(load_flow(EVALUATION), files={"another": "0" * 64})
    run = measured_by(scored_run(tmp_path / "base", [0.0, 1.0]), flow, MAPPING)
    with pytest.raises(ConfigError, match="is not what it was when it scored it.*phi3flow score base --flow"):
        StopRule.of(run, "answer_match.f1")


def test_a_baseline_that_does_not_say_what_measured_it_is_refused(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "base", [0.0, 1.0])
    early = run.metrics("answer_match").model_copy(update={"evaluation": None})
    run.write_scores("answer_match", run.scores("answer_match"), early)
    with pytest.raises(ConfigError, match="an earlier build's.*phi3flow score base --flow flows/eval/answer_match"):
        StopRule.of(run, "answer_match.f1")


def test_a_metric_of_no_known_range_is_refused(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "base", [0.0, 17.5], metric="perplexity")
    measured_by(run, load_flow(EVALUATION), MAPPING)
    with pytest.raises(ConfigError, match="only a metric of known range can be tested.*score_ranges"):
        StopRule.of(run, "answer_match.perplexity")


def test_a_metric_of_the_whole_run_is_refused(tmp_path: Path) -> None:
    run = measured_by(scored_run(tmp_path / "base", [None, None]), load_flow(EVALUATION), MAPPING)
    with pytest.raises(ConfigError, match="no line of base has a score of it; name a metric of the lines"):
        StopRule.of(run, "answer_match.f1")


def test_one_conversation_of_half_of_all_lines_is_named_as_the_reason(rule: StopRule) -> None:
    test = StopTest(rule, [60, *[1] * 60], level=0.05)
    for lines in (60, *[1] * 60):
        test.add([_line(0.0, 1.0)] * lines)
    outcome = test.outcome
    assert (outcome.verdict, outcome.difference.mean) == ("undecided", 1.0)
    assert outcome.reason is not None
    assert outcome.reason.startswith("conversations are long, up to 60 of 120 lines, so that nothing is decided")
