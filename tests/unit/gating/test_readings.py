"""Rules decided by both readings of failed lines: as the worst score, and left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.gating import RuleResult, parse_rule
from phi3flow.gating.checks import check_comparison, check_threshold
from phi3flow.gating.evidence import Evidence
from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.gating.scored_metrics import ScoredMetric
from phi3flow.records.comparisons import AnsweredOnly, Difference, MetricComparison, Sides
from phi3flow.records.scores import Estimate
from phi3flow.stats import UNIT


def _estimate(mean: float, half: float, n: int = 100, **fields: Any) -> Estimate:
    return Estimate(mean=mean, low=mean - half, high=mean + half, se=half / 2, n=n, method="t", **fields)


LEAST = _estimate(0.4, 0.1, 120, n_failed=55)
ANSWERED = _estimate(0.74, 0.1, 65, n_failed=55)
METRIC = ScoredMetric("answer_match", "f1", LEAST, ANSWERED)


def _threshold(rule: str, metric: ScoredMetric = METRIC) -> RuleResult:
    parsed = parse_rule(rule)
    assert isinstance(parsed, Threshold)
    return check_threshold(parsed, metric)


def _compared(mean: float, half: float, n: int = 120, **fields: Any) -> MetricComparison:
    absent = dict.fromkeys(("baseline", "candidate", "p_permutation", "wins", "losses", "ties", "lines_needed"))
    return MetricComparison(
        **absent
        | {"p": 0.001 if abs(mean) > half else 0.5, "n": n, "method": "paired t", "se": half / 2}
        | {"minimum_detectable_effect": half}
        | fields,
        difference=Difference(mean=mean, low=mean - half, high=mean + half),
    )


def _answered(mean: float, half: float, n: int = 65) -> AnsweredOnly:
    difference = Difference(mean=mean, low=mean - half, high=mean + half)
    return AnsweredOnly(
        baseline=0.4, candidate=0.4 + mean, difference=difference, p=0.001 if abs(mean) > half else 0.5, n=n
    )


def _comparison(rule: str, compared: MetricComparison) -> RuleResult:
    parsed = parse_rule(rule)
    assert isinstance(parsed, NoWorse | Better)
    evidence = Evidence.of_comparison("answer_match.f1", compared)
    return check_comparison(parsed, evidence, compared, score_range=UNIT)


# thresholds


@pytest.mark.parametrize(
    ("rule", "outcome", "answered_only"),
    [
        ("f1 >= 0.2", "passed", "passed"),
        ("f1 >= 0.6", "undecided", "passed"),
        ("f1 >= 0.4", "undecided", "passed"),
        ("f1 >= 0.7", "undecided", "undecided"),
        ("f1 >= 0.9", "failed", "failed"),
        ("f1 <= 0.6", "undecided", "failed"),
    ],
)
def test_a_threshold_passes_and_fails_by_both_readings_or_is_undecided(rule, outcome, answered_only):
    result = _threshold(rule)
    assert (result.outcome, result.answered_only.outcome) == (outcome, answered_only)
    assert (result.value, result.n) == (0.4, 120)
    assert (result.answered_only.value, result.answered_only.n) == (0.74, 65)
    assert (result.failed, result.unscored) == (Sides(candidate=55), Sides())
    assert "Failed in the run: 55 lines; counted as the worst score." in result.sentence


def test_a_disagreement_names_both_outcomes_and_no_number_of_lines_that_would_mend_it():
    result = _threshold("f1 >= 0.6")
    assert result.lines_needed is None
    assert "undecided: it depends on the lines that failed" in result.sentence
    assert "With them the rule is failed; over the answered lines alone it is 0.7400" in result.sentence
    assert result.sentence.endswith("65 lines): passed.")


def test_where_the_readings_agree_that_it_is_undecided_lines_would_decide_it():
    metric = replace(METRIC, answered_only=_estimate(0.41, 0.1, 118))
    result = _threshold("f1 >= 0.42", metric)
    assert (result.outcome, result.answered_only.outcome) == ("undecided", "undecided")
    assert result.lines_needed is not None
    assert f"About {result.lines_needed:,} lines would decide" in result.sentence


def test_left_out_by_choice_there_is_one_reading_and_the_sentence_says_so():
    metric = replace(METRIC, estimate=ANSWERED, answered_only=None, failed_lines="left out")
    result = _threshold("f1 >= 0.6", metric)
    assert (result.outcome, result.value, result.answered_only) == ("passed", 0.74, None)
    assert "Failed in the run: 55 lines; left out, as the scores were made with --failed-lines left-out" in (
        result.sentence
    )


def test_failed_lines_that_count_as_nobody_knows_what_are_undecided():
    note = "55 lines that failed in the run are left out: no range of it is declared"
    metric = ScoredMetric("judge", "points", _estimate(40, 2, 65, n_failed=55, note=note), uncounted=True)
    result = _threshold("points >= 1", metric)
    assert (result.outcome, result.lines_needed) == ("undecided", None)
    assert "nobody can say what the failed lines count as" in result.sentence
    assert "Failed in the run: 55 lines. 55 lines that failed in the run are left out: no range" in result.sentence
    left_out = replace(metric, failed_lines="left out")
    assert _threshold("points >= 1", left_out).outcome == "passed"


def test_the_failures_of_the_judge_are_counted_apart_and_charged_to_nobody():
    metric = ScoredMetric("judge", "stars", _estimate(0.7, 0.05, 90, n_failed=10, n_unscored=10))
    result = _threshold("stars >= 0.6", metric)
    assert (result.outcome, result.failed, result.unscored) == ("passed", Sides(), Sides(candidate=10))
    assert "Not scored: 10 lines; the scoring failed and not the run" in result.sentence
    assert "Failed in the run" not in result.sentence


def test_lower_is_better_and_a_note_of_the_estimate_are_said():
    note = "3 conversations are too few"
    estimate = _estimate(0.3, 0.1, note=note)
    result = _threshold("defect <= 0.25", ScoredMetric("safety", "defect", estimate, lower_is_better=True))
    assert "safety.defect is 0.3000, where lower is better" in result.sentence
    assert result.sentence.endswith("3 conversations are too few.")


@given(
    limit=st.floats(0, 1),
    comparator=st.sampled_from([">=", ">", "<=", "<"]),
    means=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    halves=st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.5)),
)
def test_no_rule_is_decided_that_one_reading_does_not_decide_alike(limit, comparator, means, halves):
    least, answered = (_estimate(mean, half) for mean, half in zip(means, halves, strict=True))
    rule = Threshold("", "f1", comparator, limit)
    alone = [check_threshold(rule, ScoredMetric("a", "f1", estimate)).outcome for estimate in (least, answered)]
    both = check_threshold(rule, ScoredMetric("a", "f1", least, answered)).outcome
    assert both == (alone[0] if alone[0] == alone[1] else "undecided")


# comparisons


def test_a_candidate_that_fails_where_it_would_be_wrong_is_not_better():
    compared = _compared(-0.01, 0.13, failed=Sides(candidate=55), answered_only=_answered(0.185, 0.13))
    for rule in ("f1 better than baseline", "f1 better than baseline by 0.04", "f1 no worse than baseline by 0.05"):
        result = _comparison(rule, compared)
        assert (result.outcome, result.answered_only.outcome) == ("undecided", "passed")
        assert (result.failed, result.n, result.answered_only.n) == (Sides(candidate=55), 120, 65)
        assert "Failed in the run: 0 lines of the baseline, 55 of the run; counted as the worst score" in (
            result.sentence
        )
        assert "over the lines that both answered alone it is +0.1850" in result.sentence


def test_readings_that_agree_decide_and_are_both_said():
    sides = Sides(baseline=3, candidate=20)
    compared = _compared(-0.3, 0.1, failed=sides, answered_only=_answered(-0.2, 0.1))
    result = _comparison("f1 no worse than baseline by 0.05", compared)
    assert (result.outcome, result.failed) == ("failed", sides)
    assert "Failed in the run: 3 lines of the baseline, 20 of the run" in result.sentence
    assert result.sentence.endswith(
        "Over the lines that both answered alone it is -0.2000 "
        "(95 % interval -0.3000 to -0.1000, 65 lines): failed as well."
    )


def test_left_out_by_choice_a_comparison_has_one_reading():
    compared = _compared(0.185, 0.1, 65, failed=Sides(candidate=55), failed_lines="left out")
    result = _comparison("f1 better than baseline", compared)
    assert (result.outcome, result.n, result.answered_only) == ("passed", 65, None)
    assert "55 of the run; left out" in result.sentence


def test_a_metric_without_a_range_is_undecided_while_failures_differ():
    compared = _compared(9.0, 1.0, failed=Sides(candidate=5), obstacle="nobody can say what the failed lines count as")
    result = _comparison("f1 better than baseline", compared)
    assert (result.outcome, result.lines_needed) == ("undecided", None)
    assert "nobody can say what the failed lines count as" in result.sentence


def test_failures_of_the_scoring_are_named_for_either_side():
    compared = _compared(0.2, 0.1, unscored=Sides(baseline=1, candidate=4))
    result = _comparison("f1 better than baseline", compared)
    assert (result.outcome, result.unscored) == ("passed", Sides(baseline=1, candidate=4))
    assert "Not scored: 1 line of the baseline, 4 of the run" in result.sentence


def test_better_than_the_baseline_takes_what_a_comparison_calls_better():
    four_wins = _compared(4 / 300, 0.01, 300, p=0.0625)
    result = _comparison("f1 better than baseline", four_wins)
    assert four_wins.difference.low > 0
    assert result.outcome == "undecided"
    assert "neither shown nor ruled out, p = 0.0625" in result.sentence
    assert _comparison("f1 better than baseline", _compared(4 / 300, 0.01, p=0.031)).outcome == "passed"
    worse = _compared(-4 / 300, 0.01, 300, p=0.0625)
    assert _comparison("f1 better than baseline", worse).outcome == "undecided"
    assert _comparison("f1 better than baseline by 0.001", four_wins).outcome == "passed", "a margin has its bound"


def test_lower_is_better_mirrors_both_readings():
    compared = _compared(-0.2, 0.1, lower_is_better=True, failed=Sides(candidate=5), answered_only=_answered(-0.3, 0.1))
    for rule in ("f1 better than baseline", "f1 better than baseline by 0.05", "f1 no worse than baseline by 0.05"):
        result = _comparison(rule, compared)
        assert (result.outcome, result.answered_only.outcome, result.value) == ("passed", "passed", -0.2)
        assert "where lower is better" in result.sentence
    assert _comparison("f1 better than baseline", compared.model_copy(update={"lower_is_better": False})).outcome == (
        "failed"
    )


def test_a_test_that_watched_the_run_decides_at_its_own_level():
    compared = _compared(0.1, 0.09, p=0.03, method="confidence sequence", se=None)
    assert _comparison("f1 better than baseline", compared).outcome == "passed"
    result = _comparison("f1 better than baseline", compared.model_copy(update={"level": 0.025}))
    assert (result.outcome, result.lines_needed) == ("undecided", None)
    assert "97.5 % interval that allows for watching the run" in result.sentence
