"""Metrics of whole runs: equal to sacrebleu, with intervals and tests by conversation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

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
    alone = _estimate(lines, rng=_rng(), draws=DRAWS)
    together = _estimate(lines, rng=_rng(), clusters=labels, draws=DRAWS)
    assert alone.se is not None
    assert together.se is not None
    assert together.se == pytest.approx(alone.se * np.sqrt(5), rel=0.1)
    assert together.method == "clustered bootstrap, 2,000 draws"


def test_one_conversation_has_no_interval_and_no_line_has_nothing() -> None:
    one = _estimate(_lines(3), rng=_rng(), clusters=["a"] * 3)
    assert (one.low, one.n) == (None, 3)
    none = _estimate(np.empty((0, 2)), rng=_rng())
    assert (none.mean, none.n) == (None, 0)
    assert _compare(np.empty((0, 2)), np.empty((0, 2)), rng=_rng()).mean is None
    assert _compare(_lines(3), _lines(3, 5), rng=_rng(), clusters=["a"] * 3).low is None


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
    assert (found.mean, found.low, found.high, found.p, found.p_permutation) == (0.0, 0.0, 0.0, 1.0, 1.0)


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
