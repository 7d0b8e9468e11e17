"""Decisions of a gate: the lines that would make one, and how often runs are let pass or stopped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from phi3flow.gating.decisions import check_comparison, check_threshold, decide, lines_for_share
from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.stats import estimate_mean, lines_needed, standard_error, t_interval

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
    assert (found.outcome, found.lines_needed) == ("undecided", 1766)
    assert "Two equal runs take about 1,766 lines to pass with 80 % power." in found.sentence
    assert "The margin 0.02 is below 0.0517, the least difference that these lines show" in found.sentence


def test_where_the_lines_suffice_for_equal_runs_the_observed_difference_sets_the_lines():
    found = check_comparison(NO_WORSE, "answer_match.f1", _difference(-0.015, 0.3, 5000))
    assert (found.outcome, found.lines_needed) == ("undecided", lines_needed(0.3, 0.005))
    assert "would decide with 80 % power, if the difference stays" in found.sentence
    assert "The margin" not in found.sentence
    on_the_limit = check_comparison(NO_WORSE, "f1", _difference(-0.02, 0.3, 5000))
    assert (on_the_limit.outcome, on_the_limit.lines_needed) == ("undecided", None)


def test_superiority_is_planned_for_the_observed_difference():
    rule = Better("f1 better than baseline by 0.01", "f1", 0.01)
    found = check_comparison(rule, "f1", _difference(0.03, 0.3, 264))
    assert (found.outcome, found.lines_needed) == ("undecided", lines_needed(0.3, 0.02))
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
    assert 5 * 381 <= found.lines_needed <= 7 * 381


@pytest.mark.parametrize(("share", "limit"), [(0.7, 0.6), (0.95, 0.9), (0.02, 0.05)])
def test_the_lines_for_a_share_pass_four_times_in_five(share, limit):
    n = lines_for_share(share, limit)
    rng = np.random.default_rng(7)
    comparator = ">=" if share > limit else "<="
    rule = Threshold("", "m", comparator, limit)
    hits = rng.binomial(n, share, size=4000)
    outcomes = {
        int(k): check_threshold(rule, "m", estimate_mean([1.0] * int(k) + [0.0] * (n - int(k)))).outcome
        for k in np.unique(hits)
    }
    passed = np.mean([outcomes[int(k)] == "passed" for k in hits])
    assert 0.76 <= passed <= 0.85


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
            counts[decide(float(bounds[0]), float(bounds[1]), comparator, limit)] += 1
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
    rule, n = Better("f1 better than baseline", "f1", 0.0), lines_needed(0.3, 0.02)
    rates = _rates(rule, truth=-0.02, n=n)
    assert rates["failed"] == pytest.approx(0.80, abs=0.02)
    assert rates["passed"] < 0.001
    assert _rates(rule, truth=0.02, n=n)["passed"] == pytest.approx(0.80, abs=0.02)
    twice = NoWorse("f1 no worse than baseline by 0.01", "f1", 0.01)
    assert _rates(twice, truth=-0.02, n=lines_needed(0.3, 0.01), draws=1600)["failed"] == pytest.approx(0.80, abs=0.03)
