"""The lines that would decide a rule: exact for 0/1 scores, and always more than there are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.gating.plans import Plan, plan_comparison, plan_threshold
from phi3flow.gating.rules import Better, NoWorse, Threshold
from phi3flow.records.comparisons import Difference, MetricComparison
from phi3flow.stats import Spread, estimate_mean, tango_interval

NO_WORSE = NoWorse("value_accuracy no worse than baseline by 0.05", "value_accuracy", 0.05)


def _compared(wins: int, losses: int, n: int, *, width: float = 1.0, lower_is_better: bool = False) -> MetricComparison:
    low, high = tango_interval(wins, losses, n)
    mean = (wins - losses) / n
    return MetricComparison(
        **dict.fromkeys(("baseline", "candidate", "p", "p_permutation", "minimum_detectable_effect", "lines_needed")),
        difference=Difference(mean=width * mean, low=width * float(low), high=width * float(high)),
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        n=n,
        method="Tango interval, mid-p McNemar",
        se=width * math.sqrt(max((wins + losses) / n - mean**2, 0.0) / n),
        lower_is_better=lower_is_better,
    )


@pytest.mark.parametrize(("discordant", "lines"), [(10, 205), (20, 345), (40, 643)])
def test_two_equal_runs_need_the_lines_that_the_design_states(discordant, lines):
    half = discordant // 2
    assert plan_comparison(NO_WORSE, _compared(half, half, 200), score_range=None) == Plan(lines, equal_runs=True)
    stars = NoWorse("stars no worse than baseline by 0.2", "stars", 0.2)
    compared = _compared(half, half, 200, width=4.0)
    assert plan_comparison(stars, compared, score_range=(1, 5)) == Plan(lines, equal_runs=True)


def test_runs_that_do_not_differ_at_all_need_lines_too():
    assert plan_comparison(NO_WORSE, _compared(0, 0, 40), score_range=None) == Plan(73, equal_runs=True)


def test_where_lower_is_better_the_plan_is_mirrored():
    better = Better("defects better than baseline by 0.05", "defects", 0.05)
    straight = plan_comparison(better, _compared(20, 8, 100), score_range=None)
    mirrored = plan_comparison(better, _compared(8, 20, 100, lower_is_better=True), score_range=None)
    assert straight == mirrored
    assert straight is not None


@given(st.integers(5, 400), st.data(), st.floats(0, 0.3), st.sampled_from([NoWorse, Better]))
def test_a_plan_is_for_more_lines_than_there_are(n, data, margin, kind):
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    plan = plan_comparison(kind("", "m", margin), _compared(wins, losses, n), score_range=None)
    assert plan is None or plan.lines > n


@given(st.integers(5, 400), st.floats(0, 1), st.floats(0.01, 0.99))
def test_a_plan_for_a_share_is_for_more_lines_than_there_are(n, share, limit):
    hits = round(share * n)
    estimate = estimate_mean([1.0] * hits + [0.0] * (n - hits))
    plan = plan_threshold(Threshold("", "m", ">=", limit), estimate, score_range=None)
    assert plan is None or plan.lines > n


def test_a_share_of_another_range_is_planned_as_the_share_that_it_is():
    rule = Threshold("stars >= 4.2", "stars", ">=", 4.2)
    stars = plan_threshold(rule, estimate_mean([5.0] * 18 + [1.0] * 2, score_range=(1, 5)), score_range=(1, 5))
    rule = Threshold("accuracy >= 0.8", "accuracy", ">=", 0.8)
    assert stars == plan_threshold(rule, estimate_mean([1.0] * 18 + [0.0] * 2), score_range=None)
    assert stars is not None


def test_pseudo_differences_are_planned_with():
    compared = _compared(0, 0, 50).model_copy(update={"method": "paired t", "se": 0.1 / math.sqrt(50)})
    bounded = plan_comparison(NO_WORSE, compared, score_range=(0, 1))
    unbounded = plan_comparison(NO_WORSE, compared, score_range=None)
    assert bounded == Plan(Spread.of_differences(0.1, 1.0).lines_needed(0, limit=-0.05), equal_runs=True)
    assert unbounded is not None
    assert bounded.lines > unbounded.lines
