"""Power and lines needed: the figures of the design, enumeration with the real decisions, noncentral t, simulations."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from phi3flow import stats
from phi3flow.stats import Discordance, Share, Spread
from tests.support.simulations import SIMULATIONS, rng

shares = st.floats(0.001, 0.999)
levels = st.sampled_from([0.05, 0.025, 0.005])

# 0/1 scores of pairs


@pytest.mark.parametrize(
    ("margin", "discordant", "lines"),
    [(0.05, 0.05, 205), (0.05, 0.1, 345), (0.05, 0.2, 643), (0.1, 0.05, 69), (0.1, 0.1, 100), (0.1, 0.2, 168)],
)
def test_two_equal_runs_need_the_lines_that_the_design_states(margin, discordant, lines):
    assert Discordance(discordant).lines_needed(0.0, limit=-margin) == lines
    assert Discordance(discordant).power(lines, 0.0, limit=-margin) >= stats.POWER


def _outcomes(n: int, wins: float, losses: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    won, lost = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    possible = won + lost <= n
    counts = np.stack([won, lost, n - won - lost], axis=1)[possible]
    return counts[:, 0], counts[:, 1], scipy_stats.multinomial.pmf(counts, n, [wins, losses, 1 - wins - losses])


@given(st.integers(1, 18), st.floats(0, 0.6), st.floats(-1, 1), st.sampled_from([-0.1, -0.05, 0.05, 0.2]), levels)
def test_the_power_of_a_margin_is_the_chance_of_all_outcomes_whose_bound_clears_it(n, share, mean, limit, level):
    differing = max(share, abs(mean))
    won, lost, chance = _outcomes(n, (differing + mean) / 2, (differing - mean) / 2)
    low, high = stats.tango_interval(won, lost, n, level)
    decided = low >= limit if mean >= limit else high <= limit
    assert Discordance(share).power(n, mean, limit=limit, level=level) == pytest.approx(chance[decided].sum(), abs=1e-9)


@given(st.integers(1, 18), st.floats(0, 0.6), st.floats(-1, 1), levels)
def test_the_power_to_show_a_difference_is_that_of_the_decision_itself(n, share, mean, level):
    differing = max(share, abs(mean))
    won, lost, chance = _outcomes(n, (differing + mean) / 2, (differing - mean) / 2)
    low, high = stats.tango_interval(won, lost, n, level)
    p = stats.mcnemar_mid_p(won, lost)
    verdict = "better" if mean >= 0 else "worse"
    decided = [
        stats.decide(*bounds, level=level) == verdict
        for bounds in zip(low.tolist(), high.tolist(), p.tolist(), strict=True)
    ]
    assert Discordance(share).power(n, mean, level=level) == pytest.approx(chance[decided].sum(), abs=1e-9)


@given(st.integers(5, 3000), st.floats(0, 0.5), st.floats(0, 0.4), st.floats(0.001, 0.2))
def test_a_greater_difference_is_shown_more_often(n, share, mean, more):
    for scatter in (Discordance(share), Spread(0.1 + share)):
        assert scatter.power(n, mean) <= scatter.power(n, mean + more) + 1e-9


@given(st.integers(2, 3000), st.floats(0, 0.5), st.floats(-0.4, 0.4), st.floats(-0.3, 0.3), levels)
def test_power_is_mirrored_with_the_difference(n, share, mean, limit, level):
    for scatter in (Discordance(share), Spread.of_differences(0.1 + share, 1.0)):
        power = scatter.power(n, mean, limit=limit, level=level)
        assert power == pytest.approx(scatter.power(n, -mean, limit=-limit, level=level), abs=1e-9) or mean == limit


@given(st.floats(0, 0.5), st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), levels)
def test_the_lines_needed_have_the_power(share, mean, limit, level):
    lines = Discordance(share).lines_needed(mean, limit=limit, level=level)
    if lines is None:
        assert mean == pytest.approx(limit)
    elif lines < 1_000_000:
        assert Discordance(share).power(lines, mean, limit=limit, level=level) >= stats.POWER


def test_no_number_of_lines_tells_the_limit_from_itself():
    assert Discordance(0.1).lines_needed(0.0) is None
    assert Discordance(0.1).lines_needed(-0.05, limit=-0.05) is None
    assert Spread(0.3).lines_needed(0.05, limit=0.05) is None
    assert Spread(0.0).lines_needed(0.05) is None, "nothing scatters, and no pseudo score makes a width"
    assert Share().lines_needed(0.9, limit=0.9) is None
    assert Share().lines_needed(0.9, limit=1.2) is None


def test_pairs_of_which_none_differs_rule_out_a_loss_by_their_number():
    """Tango's bound of 0 : 0 is -z^2 / (n + z^2)."""
    assert Discordance(0.0).lines_needed(0.0, limit=-0.05) == 73
    assert float(stats.tango_interval(0, 0, 73)[0]) >= -0.05 > float(stats.tango_interval(0, 0, 72)[0])


def test_lines_in_the_hundred_thousands_are_counted_in_a_moment():
    started = time.process_time()
    assert Discordance(0.04).lines_needed(0.0, limit=-0.001) == pytest.approx(313_956, rel=0.03)
    assert Discordance(0.05).minimum_detectable_effect(100_000) == pytest.approx(0.00198, abs=1e-5)
    assert time.process_time() - started < 1


def test_beyond_a_million_lines_the_formula_is_as_exact_as_a_step():
    """At the last counted ones, counting and formula are one step apart."""
    for discordant, margin in [(0.001, 0.0000886), (0.05, 0.000628), (0.5, 0.00199)]:
        lines = Discordance(discordant).lines_needed(0.0, limit=-margin)
        assert 990_000 < lines < 1_030_000
        assert Discordance(discordant).power(lines, 0.0, limit=-margin) == pytest.approx(0.8, abs=0.01)


def test_the_scores_of_another_range_are_counted_alike():
    assert Discordance(0.1, 4.0).lines_needed(0.0, limit=-0.2) == Discordance(0.1).lines_needed(0.0, limit=-0.05)
    effect = Discordance(0.1).minimum_detectable_effect(100)
    assert Discordance(0.1, 4.0).minimum_detectable_effect(100) == pytest.approx(4 * effect, rel=1e-4)


@pytest.mark.parametrize("discordant", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("n", [10, 50, 1000])
def test_the_minimum_detectable_effect_is_what_has_the_power(n, discordant):
    for scatter in (Discordance(discordant), Spread(0.1 + discordant)):
        effect = scatter.minimum_detectable_effect(n)
        assert scatter.power(n, effect) == pytest.approx(stats.POWER, abs=1e-3)
    assert Discordance(discordant).minimum_detectable_effect(1) is None
    assert Spread(0.3, unit=5).minimum_detectable_effect(5) is None


# any scores


@pytest.mark.parametrize("n", [3, 5, 20, 50, 300, 5000])
@pytest.mark.parametrize("level", [0.05, 0.005])
def test_without_pseudo_scores_power_is_the_noncentral_t_distributions(n, level):
    quantile = special.stdtrit(n - 1, 1 - level / 2)
    expected = scipy_stats.nct.sf(quantile, n - 1, 0.1 / 0.3 * math.sqrt(n))
    assert Spread(0.3).power(n, 0.1, level=level) == pytest.approx(expected, abs=1e-5)
    assert Spread(0.3).power(n, 0.05, limit=-0.05, level=level) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("n", "mean", "deviation", "lines"),
    [(20, 0.2, 0.3, 1), (100, 0.08, 0.12, 1), (40, 0.05, 0.05, 1), (200, 0.1, 0.5, 10), (200, 0.1, 0.2, 10)],
)
def test_power_is_how_often_the_interval_of_bounded_differences_excludes_0(n, mean, deviation, lines):
    generator, clusters = rng(1), None if lines == 1 else np.repeat(np.arange(n // lines), lines)
    values = np.repeat(generator.normal(mean, deviation / math.sqrt(lines), (SIMULATIONS, n // lines)), lines, axis=1)
    low, _ = stats.infer_bounded_difference(values, clusters, 1.0).interval()
    power = Spread.of_differences(deviation, 1.0, unit=lines).power(n, mean)
    assert power == pytest.approx((low > 0).mean(), abs=0.02)


@pytest.mark.parametrize(
    ("n", "mean", "deviation", "limit"), [(50, 0.6, 0.3, 0.5), (30, 0.9, 0.1, 0.8), (30, 0.3, 0.2, 0.4)]
)
def test_power_is_how_often_the_interval_of_bounded_scores_excludes_the_limit(n, mean, deviation, limit):
    values = rng(1).normal(mean, deviation, (SIMULATIONS, n))
    low, high = stats.infer_bounded_mean(values, None, (0, 1)).interval()
    decided = low > limit if mean > limit else high < limit
    power = Spread.of_scores(deviation, (0, 1)).power(n, mean, limit=limit)
    assert power == pytest.approx(decided.mean(), abs=0.02)


def test_lines_needed_are_the_least_with_the_power():
    for spread, mean, lines in [
        (Spread(0.3), 0.02, 1768),
        (Spread(0.3), 0.1, 73),
        (Spread.of_differences(0.3, 1.0), 0.1, 80),
        (Spread(0.3, unit=5), 0.1, 81),
    ]:
        assert spread.lines_needed(mean) == spread.lines_needed(-mean) == lines
        assert spread.power(lines, mean) >= stats.POWER > spread.power(lines - 1, mean)


@pytest.mark.parametrize("longest", [8, 40])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_lines_needed_of_unequal_conversations_have_the_power(longest, shared):
    """Conversations of 1 to ``longest`` lines, which share so much of the variance of a line."""
    generator, mean, line = rng(3), 0.1, 0.3
    length, unit = (1 + longest) / 2, (1 + 2 * longest) / 3  # of a conversation, and of the one that a line is in
    deviation = line * math.sqrt(1 + (unit - 1) * shared)
    lines = Spread.of_differences(deviation, 1.0, unit=unit, length=length).lines_needed(mean)
    decided = []
    for _ in range(50):
        lengths = generator.integers(1, longest + 1, round(lines / length))
        clusters = np.repeat(np.arange(len(lengths)), lengths)
        common = generator.normal(0, line * math.sqrt(shared), (100, len(lengths)))[:, clusters]
        values = mean + common + generator.normal(0, line * math.sqrt(1 - shared), common.shape)
        low, _ = stats.infer_bounded_difference(values, clusters, 1.0).interval()
        decided.append((low > 0).mean())
    assert np.mean(decided) == pytest.approx(stats.POWER, abs=0.05)


def test_few_conversations_have_less_power_than_their_lines():
    assert Spread(0.3, unit=10).power(60, 0.1) < Spread(0.3).power(60, 0.1)
    assert Spread(0.3, unit=10).minimum_detectable_effect(60) > Spread(0.3).minimum_detectable_effect(60)


def test_scores_that_all_tie_rule_out_a_loss_by_their_number():
    lines = Spread.of_differences(0.0, 1.0).lines_needed(0.0, limit=-0.05)
    bounds = [stats.infer_bounded_difference(np.zeros(n), None, 1.0).interval()[0] for n in (lines - 1, lines)]
    assert bounds[0] < -0.05 <= bounds[1]


def test_a_stricter_level_needs_more_lines():
    for scatter in (Discordance(0.2), Spread(0.3)):
        assert scatter.lines_needed(0.05, level=0.005) > scatter.lines_needed(0.05)
        assert scatter.minimum_detectable_effect(100, level=0.005) > scatter.minimum_detectable_effect(100)


# one run's 0/1 scores


@given(st.integers(1, 200), shares, st.floats(0.001, 0.999))
def test_the_power_of_a_share_is_the_chance_of_all_outcomes_whose_interval_excludes_the_limit(n, share, limit):
    hits = np.arange(n + 1)
    low, high = stats.share_interval(hits, n)
    chance = scipy_stats.binom.pmf(hits, n, share)
    edge = np.abs(low - limit).min() < 1e-9 or np.abs(high - limit).min() < 1e-9
    above = share >= limit
    tails = np.array([stats.share_tail(hit, n, limit, above=above) for hit in hits.tolist()])
    expected = chance[(low >= limit if above else high <= limit) & (tails <= stats.MOST_ONE_SIDED)].sum()
    edge |= np.abs(tails - stats.MOST_ONE_SIDED).min() < 1e-9
    assert edge or Share().power(n, share, limit=limit) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("share", "limit"), [(0.7, 0.6), (0.95, 0.9), (0.02, 0.05), (0.5, 0.49), (0.0, 0.01)])
def test_the_lines_of_a_share_have_the_power_and_few_more_than_the_least(share, limit):
    lines = Share().lines_needed(share, limit=limit)
    assert Share().power(lines, share, limit=limit) >= stats.POWER
    assert min(Share().power(n, share, limit=limit) for n in range(lines // 2, int(0.93 * lines))) < stats.POWER


def test_a_cap_without_a_defect_needs_the_lines_that_put_wilsons_bound_on_it():
    assert Share().lines_needed(0.0, limit=0.01) == 381
    assert 5 * 381 <= Share(design_effect=5.0).lines_needed(0.0, limit=0.01) <= 5.2 * 381
