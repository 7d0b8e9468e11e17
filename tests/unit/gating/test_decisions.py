"""Decisions of a gate: the lines that would make one, and how often runs are let pass or stopped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from phi3flow.gating import RuleResult, checks
from phi3flow.gating.decisions import decide_by_bound
from phi3flow.gating.evidence import Evidence
from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.gating.scored_metrics import ScoredMetric
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.records.scores import Estimate
from phi3flow.stats import UNIT, PairedComparison, Spread, compare_pairs, estimate_mean, standard_error, t_interval

SPREAD = Spread(0.3)


def check_threshold(rule: Threshold, metric: str, estimate: Estimate) -> RuleResult:
    evaluation, _, name = metric.rpartition(".")
    return checks.check_threshold(rule, ScoredMetric(evaluation, name, estimate, score_range=None))


def check_comparison(rule: NoWorse | Better, metric: str, compared: MetricComparison) -> RuleResult:
    return checks.check_comparison(rule, Evidence.of_comparison(metric, compared), compared, score_range=None)


# how many lines


def _difference(mean: float, deviation: float, n: int, **changes: Any) -> MetricComparison:
    se = deviation / math.sqrt(n)
    low, high = t_interval(mean, se, n - 1)
    fields = dict.fromkeys(("baseline", "candidate", "p", "p_permutation", "wins", "losses", "ties"))
    return MetricComparison(
        **fields
        | {"minimum_detectable_effect": 2.8 * se, "lines_needed": None, "n": n, "method": "paired t"}
        | changes,
        difference=Difference(mean=mean, low=float(low), high=float(high)),
        se=se,
    )


NO_WORSE = NoWorse("f1 no worse than baseline by 0.02", "f1", 0.02)


def test_two_equal_runs_need_the_lines_that_the_design_states():
    found = check_comparison(NO_WORSE, "answer_match.f1", _difference(0.0, 0.3, 264))
    assert (found.outcome, found.lines_needed) == ("undecided", 1768)
    assert "Two equal runs take about 1,768 lines to pass with 80 % power." in found.sentence
    assert "The margin 0.02 is below 0.0519, the least difference that these lines show" in found.sentence


def test_where_the_lines_suffice_for_equal_runs_the_observed_difference_sets_the_lines():
    found = check_comparison(NO_WORSE, "answer_match.f1", _difference(-0.015, 0.3, 5000))
    assert (found.outcome, found.lines_needed) == ("undecided", SPREAD.lines_needed(0.005))
    assert "would decide with 80 % power, if the difference stays" in found.sentence
    assert "The margin" not in found.sentence
    on_the_limit = check_comparison(NO_WORSE, "f1", _difference(-0.02, 0.3, 5000))
    assert (on_the_limit.outcome, on_the_limit.lines_needed) == ("undecided", None)


def test_superiority_is_planned_for_the_observed_difference():
    rule = Better("f1 better than baseline by 0.01", "f1", 0.01)
    found = check_comparison(rule, "f1", _difference(0.03, 0.3, 264))
    assert (found.outcome, found.lines_needed) == ("undecided", SPREAD.lines_needed(0.02))
    mirrored = check_comparison(rule, "f1", _difference(-0.03, 0.3, 264, lower_is_better=True))
    assert (mirrored.outcome, mirrored.lines_needed) == (found.outcome, found.lines_needed)


def test_so_many_lines_without_a_defect_put_the_upper_bound_below_a_cap():
    rule = Threshold("defect <= 1%", "defect", "<=", 0.01)
    few = check_threshold(rule, "content_safety.defect", estimate_mean([0.0] * 50))
    assert (few.outcome, few.lines_needed) == ("undecided", 381)
    assert check_threshold(rule, "content_safety.defect", estimate_mean([0.0] * 381)).outcome == "passed"
    assert check_threshold(rule, "content_safety.defect", estimate_mean([0.0] * 380)).outcome == "undecided"


def test_conversations_without_a_defect_count_once_each():
    clusters = [number // 5 for number in range(100)]
    rule = Threshold("defect <= 1%", "defect", "<=", 0.01)
    found = check_threshold(rule, "content_safety.defect", estimate_mean([0.0] * 100, clusters=clusters))
    assert found.lines_needed >= 5 * 381
    outcomes = []
    for n in (found.lines_needed, found.lines_needed // 2):
        more = estimate_mean([0.0] * n, clusters=[number // 5 for number in range(n)])
        outcomes.append(check_threshold(rule, "content_safety.defect", more).outcome)
    assert outcomes == ["passed", "undecided"]


# how often


def _rates(
    rule: NoWorse | Better, *, truth: float, n: int, deviation: float = 0.3, draws: int = 4000
) -> dict[str, float]:
    """Return how often pairs of runs that truly differ by ``truth`` pass, fail and stay undecided."""
    rng = np.random.default_rng(n)
    counts = {"passed": 0, "failed": 0, "undecided": 0}
    limit, comparator = (-rule.margin, ">=") if isinstance(rule, NoWorse) else (rule.margin, ">")
    for _ in range(draws // 400):
        differences = rng.normal(truth, deviation, (400, n))
        low, high = t_interval(differences.mean(axis=1), *standard_error(differences))
        for bounds in zip(low, high, strict=True):
            counts[decide_by_bound(float(bounds[0]), float(bounds[1]), comparator, limit)] += 1
    return {outcome: count / draws for outcome, count in counts.items()}


def test_two_equal_runs_pass_as_often_as_the_design_states():
    assert _rates(NO_WORSE, truth=0.0, n=264)["passed"] == pytest.approx(0.19, abs=0.02)
    assert _rates(NO_WORSE, truth=0.0, n=1766)["passed"] == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize("n", [30, 264, 1766])
def test_a_run_that_is_truly_worse_by_the_margin_is_let_pass_once_in_40_times(n):
    rates = _rates(NO_WORSE, truth=-0.02, n=n)
    assert rates["passed"] == pytest.approx(0.025, abs=0.01)
    assert rates["failed"] == pytest.approx(0.025, abs=0.01), "and shown to be worse than the margin as seldom"


def test_a_run_that_is_truly_two_hundredths_worse_is_shown_to_be_with_the_stated_power():
    rule, n = Better("f1 better than baseline", "f1", 0.0), SPREAD.lines_needed(0.02)
    rates = _rates(rule, truth=-0.02, n=n)
    assert rates["failed"] == pytest.approx(0.80, abs=0.02)
    assert rates["passed"] < 0.001
    assert _rates(rule, truth=0.02, n=n)["passed"] == pytest.approx(0.80, abs=0.02)
    twice = NoWorse("f1 no worse than baseline by 0.01", "f1", 0.01)
    assert _rates(twice, truth=-0.02, n=SPREAD.lines_needed(0.01), draws=1600)["failed"] == pytest.approx(
        0.80, abs=0.03
    )


# 0/1 scores: the exact count beside the bound


def test_half_of_fifty_lines_is_not_passed_by_wilsons_bound_alone():
    """33 of 50 pass; 32 have a bound above 0.5, as have 3.25 of 100 runs of a true 0.5."""
    for ones, outcome in [(33, "passed"), (32, "undecided")]:
        estimate = estimate_mean([1.0] * ones + [0.0] * (50 - ones))
        assert (estimate.low or 0.0) > 0.5
        metric = ScoredMetric("answer_match", "exact_match", estimate)
        result = checks.check_threshold(Threshold("exact_match >= 0.5", "exact_match", ">=", 0.5), metric)
        assert result.outcome == outcome
    assert "a true 0.5 gets as far with a chance of 3.25 %, above 3 %" in result.sentence
    assert (result.lines_needed or 0) > 50


@pytest.mark.parametrize(
    ("text", "wins_are"), [("better than baseline by", "wins"), ("no worse than baseline by", "losses")]
)
def test_a_margin_is_not_decided_by_tangos_bound_alone(text, wins_are):
    """Eight of 200 lines differ, all one way: the bound is beyond 0.02, as of 4.9 of 100 runs of a true 0.02."""
    decided, beyond = {}, {}
    for count in range(3, 12):
        changed = np.where(np.arange(200) < count, 1.0, 0.0)
        sides = (np.zeros(200), changed) if wins_are == "wins" else (changed, np.zeros(200))
        paired = compare_pairs(*sides, rng=np.random.default_rng(0))
        assert paired.low is not None
        assert paired.high is not None
        beyond[count] = paired.low > 0.02 if wins_are == "wins" else paired.high < -0.02
        compared = _counted(paired)
        evidence = Evidence.of_comparison("m", compared, score_range=UNIT)
        rule = (Better if wins_are == "wins" else NoWorse)(f"m {text} 0.02", "m", 0.02)
        decided[count] = checks.check_comparison(rule, evidence, compared, score_range=UNIT)
    first_beyond = min(count for count in beyond if beyond[count])
    least = min(count for count, result in decided.items() if result.outcome != "undecided")
    assert binom.sf(least - 1, 200, 0.02) <= 0.03 < binom.sf(first_beyond - 1, 200, 0.02)
    assert "a true difference of 0.02 gets as far with a chance of" in decided[first_beyond].sentence


def _counted(paired: PairedComparison) -> MetricComparison:
    of_pairs = {
        name: getattr(paired, name) for name in ("wins", "losses", "ties", "p", "p_permutation", "n", "method", "se")
    }
    return MetricComparison(
        **of_pairs | dict.fromkeys(("baseline", "candidate", "minimum_detectable_effect", "lines_needed")),
        difference=Difference(mean=paired.mean, low=paired.low, high=paired.high),
    )
