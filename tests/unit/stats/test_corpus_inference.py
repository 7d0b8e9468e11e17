"""Metrics of whole runs: equal to sacrebleu, with intervals and tests by conversation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from scipy import special
from scipy import stats as scipy_stats

from phi3flow import stats
from phi3flow.records.scores import Estimate
from phi3flow.stats import PairedComparison, compare_corpora, corpus_bleu, corpus_chrf, estimate_corpora
from phi3flow.stats.estimates import Floats

DRAWS = 2000
count = st.integers(0, 60)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _lines(n: int, seed: int = 0, share: float = 0.6) -> Floats:
    totals = _rng(seed).integers(1, 30, n)
    return np.stack([_rng(seed + 1).binomial(totals, share), totals], axis=1).astype(float)


def _estimate(lines: Floats, **options: Any) -> Estimate:
    return estimate_corpora([(lines, _ratio)], **options)[0]


def _compare(left: Floats, right: Floats, **options: Any) -> PairedComparison:
    return compare_corpora([(left, right, _ratio)], **options)[0]


@given(st.lists(st.tuples(count, count, *[st.tuples(count, count)] * 4), min_size=1, max_size=3))
def test_bleu_of_summed_counts_is_sacrebleus(lines: list[Any]) -> None:
    rows = [[answer, reference, *map(min, pairs), *map(max, pairs)] for answer, reference, *pairs in lines]
    for row, found in zip(rows, corpus_bleu(np.array(rows, dtype=float)), strict=True):
        expected = BLEU.compute_bleu(row[2:6], row[6:10], row[0], row[1], smooth_method="exp")
        assert found == pytest.approx(expected.score, abs=1e-9)


@given(st.lists(st.lists(st.tuples(count, count, count), min_size=6, max_size=6), min_size=1, max_size=3))
def test_chrf_of_summed_counts_is_sacrebleus(lines: list[Any]) -> None:
    rows = [[number for a, b, shared in orders for number in (a, b, min(a, b, shared))] for orders in lines]
    for row, found in zip(rows, corpus_chrf(np.array(rows, dtype=float)), strict=True):
        assert found == pytest.approx(CHRF()._compute_f_score(row), abs=1e-9)


def test_an_estimate_is_the_metric_of_the_sums_and_repeats_with_its_seed() -> None:
    lines = _lines(50)
    found = _estimate(lines, rng=_rng(), draws=DRAWS)
    assert found.mean == pytest.approx(lines[:, 0].sum() / lines[:, 1].sum())
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    assert (found.n, found.method) == (50, "bootstrap, 2,000 draws")
    assert found == _estimate(lines, rng=_rng(), draws=DRAWS)


def test_conversations_are_drawn_whole() -> None:
    lines, labels = np.repeat(_lines(20), 5, axis=0), np.repeat(np.arange(20), 5)
    lines *= 20 / lines[:, 1:]
    alone = _estimate(lines, rng=_rng(), draws=DRAWS)
    together = _estimate(lines, rng=_rng(), clusters=labels, draws=DRAWS)
    assert alone.se is not None
    assert together.se is not None
    assert together.se == pytest.approx(alone.se * np.sqrt(5), rel=0.1)
    assert together.method == "clustered bootstrap, 2,000 draws"


def test_no_line_has_nothing() -> None:
    none = _estimate(np.empty((0, 2)), rng=_rng())
    assert (none.mean, none.n) == (None, 0)
    assert _compare(np.empty((0, 2)), np.empty((0, 2)), rng=_rng()).mean is None


@pytest.mark.parametrize("count", [1, 4, 5, 6])
@pytest.mark.parametrize("lines", [1, 10])
def test_fewer_than_six_conversations_have_no_verdict(count: int, lines: int) -> None:
    before, after = _lines(count * lines), _lines(count * lines, 7, share=0.9)
    labels = np.repeat(np.arange(count), lines)
    alone = _estimate(before, rng=_rng(), clusters=labels)
    compared = _compare(before, after, rng=_rng(), clusters=labels)
    assert alone.mean is not None
    assert compared.mean is not None
    if count == 6:
        assert alone.low is not None
        assert compared.low is not None
        assert (alone.note, compared.note) == (None, None)
        return
    assert (alone.low, alone.high, alone.se) == (None, None, None)
    assert (compared.low, compared.high, compared.p, compared.lines_needed) == (None,) * 4
    units = "conversations" if lines > 1 else "lines"
    assert alone.note == compared.note == f"{count} {units}: at least 6 are needed for a verdict"


def test_conversations_that_do_not_differ_add_nothing() -> None:
    """Five of 300 that lose all are five: resampled among the 300, they would pass for a certain loss."""
    before, after = _lines(300), _lines(300)
    after[:5, 0] = 0
    few = _compare(before, after, rng=_rng(), draws=DRAWS)
    assert (few.low, few.p, few.note) == (None, None, "5 lines that differ: at least 6 are needed for a verdict")
    after[:6, 0] = 0
    enough = _compare(before, after, rng=_rng(), draws=DRAWS)
    assert enough.high is not None
    assert (enough.note, enough.n) == (None, 300)


def test_what_no_draw_varies_has_no_interval() -> None:
    right = np.stack([np.full(30, 9.0), np.full(30, 9.0)], axis=1)
    perfect = _estimate(right, rng=_rng(), draws=DRAWS)
    assert (perfect.mean, perfect.low, perfect.high, perfect.se) == (1.0, None, None, None)
    assert perfect.note == "every draw of conversations gives the same: how far it scatters cannot be seen"
    compared = _compare(right, 2 * right, rng=_rng(), draws=DRAWS)
    assert (compared.mean, compared.low, compared.p, compared.note) == (0.0, None, 1.0, perfect.note)


def test_several_tests_share_the_level_and_the_draws() -> None:
    left, right = _lines(40), _lines(40, 7, share=0.65)
    alone, shared = (_compare(left, right, rng=_rng(), draws=10_000, tests=tests) for tests in (1, 4))
    assert alone.simultaneous is None
    assert (shared.low, shared.high, shared.p) == (alone.low, alone.high, alone.p)
    low, high = shared.simultaneous or (0.0, 0.0)
    assert low < (shared.low or 0.0) < (shared.high or 0.0) < high
    assert (shared.lines_needed or 0) > (alone.lines_needed or 0)
    assert (shared.minimum_detectable_effect or 0) > (alone.minimum_detectable_effect or 0)


def test_a_level_that_the_draws_do_not_resolve_is_no_narrower_than_students_t() -> None:
    left, right = _lines(8), _lines(8, 7, share=0.65)
    compared = _compare(left, right, rng=_rng(), draws=DRAWS, tests=20)
    low, high = compared.simultaneous or (0.0, 0.0)
    assert compared.mean is not None
    assert compared.se is not None
    half = float(special.stdtrit(7, 1 - 0.05 / 40)) * compared.se
    assert low <= compared.mean - half < compared.mean + half <= high


def test_metrics_together_are_what_each_is_alone() -> None:
    left, right, other = _lines(40), _lines(40, 7, share=0.65), _lines(40, 9)
    alone = [_compare(left, right, rng=_rng(), draws=DRAWS), _compare(left, other, rng=_rng(), draws=DRAWS)]
    corpora = [(left, right, _ratio), (left, left, _ratio), (left, other, _ratio)]
    together = compare_corpora(corpora, rng=_rng(), draws=DRAWS)
    assert together[1].method == "no line differs"
    for one, each in zip(alone, (together[0], together[2]), strict=True):
        assert (each.mean, each.p_permutation) == (one.mean, one.p_permutation)
        assert each.low == pytest.approx(one.low, rel=1e-5)
    estimates = estimate_corpora([(left, _ratio), (other, _ratio)], rng=_rng(), draws=DRAWS)
    assert [one.low for one in estimates] == [
        pytest.approx(_estimate(lines, rng=_rng(), draws=DRAWS).low, rel=1e-5) for lines in (left, other)
    ]


def test_runs_that_answer_alike_do_not_differ() -> None:
    found = _compare(_lines(30), _lines(30), rng=_rng())
    assert (found.mean, found.low, found.high, found.p, found.p_permutation) == (0.0, None, None, 1.0, 1.0)
    assert found.note == "none of 30 lines differs: what others would show cannot be seen"


def test_swapping_the_runs_mirrors_the_comparison() -> None:
    left, right = _lines(40), _lines(40, 7, share=0.65)
    one = _compare(left, right, rng=_rng(), draws=DRAWS)
    other = _compare(right, left, rng=_rng(), draws=DRAWS)
    assert (one.mean, one.low, one.high) == tuple(
        pytest.approx(value)
        for value in (-other.mean, -other.high, -other.low)  # type: ignore[operator]
    )
    assert (one.p, one.p_permutation) == (pytest.approx(other.p), other.p_permutation)


@pytest.mark.parametrize("share", [0.60, 0.62, 0.64, 0.68])
def test_the_interval_excludes_zero_where_p_is_below_its_level(share: float) -> None:
    for seed in range(20):
        found = _compare(_lines(60, seed), _lines(60, seed + 100, share), rng=_rng(seed), draws=DRAWS)
        assert found.low is not None
        assert found.high is not None
        assert found.p is not None
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05) or abs(found.p - 0.05) < 0.005


def test_the_bootstrap_covers_and_the_swaps_keep_their_level() -> None:
    """A ratio of sums over 30 lines of unequal length: 1,500 simulations, whose own error is 0.6 points."""
    covered, rejected, simulations = 0, 0, 1500
    for seed in range(simulations):
        left, right = _lines(30, 2 * seed), _lines(30, 10_000 + 2 * seed)
        found = _compare(left, right, rng=_rng(seed), draws=400)
        assert found.low is not None
        assert found.high is not None
        assert found.p_permutation is not None
        covered += found.low <= 0 <= found.high
        rejected += found.p_permutation < 0.05
    assert covered / simulations >= 0.93
    assert 0.03 <= rejected / simulations <= 0.065


@pytest.mark.parametrize(("count", "lines"), [(6, 1), (6, 20), (10, 8)])
def test_the_bootstrap_of_few_conversations_covers(count: int, lines: int) -> None:
    """Conversations of 1 to ``lines`` lines, which share half of their variance. No interval excludes nothing."""
    covered, alone, simulations = 0, 0, 500
    truth = float(_ratio(_conversations(_rng(1), 100_000, lines)[0].sum(axis=0)))
    for seed in range(simulations):
        before, after, labels = _conversations(_rng(seed + 2), count, lines)
        compared = _compare(before, after, rng=_rng(seed), clusters=labels, draws=4000)
        estimate = _estimate(before, rng=_rng(seed), clusters=labels, draws=4000)
        covered += compared.low is None or compared.high is None or compared.low <= 0 <= compared.high
        alone += estimate.low is None or estimate.high is None or estimate.low <= truth <= estimate.high
    assert covered / simulations >= 0.93
    assert alone / simulations >= 0.93


def _conversations(rng: np.random.Generator, count: int, lines: int) -> tuple[Floats, Floats, Any]:
    labels = np.repeat(np.arange(count), rng.integers(1, lines + 1, count))
    totals = rng.integers(10, 40, len(labels))
    shared = rng.normal(0, 0.5, count)[labels]
    sides = [
        np.stack([rng.binomial(totals, special.ndtr(0.3 + shared + rng.normal(0, 0.5, len(labels)))), totals], axis=1)
        for _ in range(2)
    ]
    return sides[0].astype(float), sides[1].astype(float), labels


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("metric", ["corpus_bleu", "corpus_chrf"])
def test_some_wrong_answers_among_right_ones_do_not_bound_those_that_others_have(metric, n):
    right, wrong = _ANSWERS[metric]
    compute = stats.CORPUS_METRICS[metric]
    lows = []
    for count in range(n + 1):
        counts = np.where((np.arange(n) < count)[:, None], wrong, right)
        [estimate] = stats.estimate_corpora([(counts, compute)], rng=_rng(), draws=500)
        assert estimate.low is None or 0 <= estimate.low <= estimate.mean <= estimate.high <= 100
        lows.append(-np.inf if estimate.low is None else estimate.low)
    for share in np.linspace(0.2, 6, 30) / n:
        truth = float(compute(1e6 * ((1 - share) * right + share * wrong)))
        chances = scipy_stats.binom.pmf(np.arange(n + 1), n, share)
        assert chances[np.array(lows) > truth].sum() <= 0.03


_ANSWERS = {
    "corpus_bleu": (
        np.array([10, 10, 10, 9, 8, 7, 10, 9, 8, 7], dtype=float),
        np.array([7, 10, 0, 0, 0, 0, 7, 6, 5, 4], dtype=float),
    ),
    "corpus_chrf": (np.full(18, 20.0), np.array([20.0, 20.0, 4.0] * 6)),
}


def _bleu_counts(right: Floats, length: int = 10) -> Floats:
    """Return the counts of answers of so many tokens, of which a share is ``right``, (n,)."""
    orders = length - np.arange(4)
    matches = np.maximum(0, np.round(right[:, None] * orders))
    return np.concatenate([np.full((len(right), 2), length), matches, np.tile(orders, (len(right), 1))], axis=1)


def _bleu_of(share_wrong: float, right: float) -> float:
    good, bad = _bleu_counts(np.array([right, 0.0]))
    return float(corpus_bleu(1e6 * ((1 - share_wrong) * good + share_wrong * bad)))


@pytest.mark.parametrize(("n", "wrong"), [(50, 0.2), (200, 0.02), (200, 0.05)])
def test_a_gain_on_most_lines_bounds_no_loss_of_all_on_few(n, wrong):
    """Where the candidate gains on all lines but those, few, that it has all wrong: 0.08 before."""
    truth, simulations = _bleu_of(wrong, 0.9) - _bleu_of(0, 0.5), 200
    errors = 0
    for seed in range(simulations):
        rng = _rng(seed)
        after = _bleu_counts(np.where(rng.random(n) < wrong, 0.0, 0.9))
        [found] = compare_corpora([(_bleu_counts(np.full(n, 0.5)), after, corpus_bleu)], rng=rng, draws=1000)
        errors += found.low is not None and found.low > truth
    assert errors / simulations <= 0.03


@pytest.mark.parametrize(("longest", "wrong"), [(147, 0.1), (63, 0.2)])
@pytest.mark.parametrize("of_lines", [True, False])
def test_one_long_conversation_or_answer_does_not_vouch_for_the_others(longest, wrong, of_lines):
    """Conversations, or answers, that are right or wrong as a whole, one of them with a third to half of all: 0.09."""
    lengths, simulations, errors = np.array([longest] + [3] * 49), 200, 0
    for seed in range(simulations):
        rng = _rng(seed)
        right = np.where(rng.random(50) < wrong, 0.0, 1.0)
        if of_lines:
            labels = np.repeat(np.arange(50), lengths)
            counts = _bleu_counts(right[labels])
        else:
            labels = None
            counts = np.concatenate([_bleu_counts(right[[row]], 4 * length) for row, length in enumerate(lengths)])
        [found] = estimate_corpora([(counts, corpus_bleu)], rng=rng, clusters=labels, draws=1000)
        errors += found.low is not None and found.low > _bleu_of(wrong, 1.0)
    assert errors / simulations <= 0.03
