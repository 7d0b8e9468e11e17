"""Tokens are picked by the distribution that the parameters describe, row by row."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from scipy import stats

from phi3flow.serving.sampling import NUCLEUS_WIDTH, SamplingParameters, pick_tokens


def _pick(logits: torch.Tensor, parameters: SamplingParameters, seed: int = 0) -> list[int]:
    rows = len(logits)
    return pick_tokens(logits, [parameters] * rows, [random.Random(seed + row) for row in range(rows)])


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-45, 1e-6])
def test_temperature_zero_and_nearly_zero_take_the_likeliest_token(temperature: float) -> None:
    logits = torch.tensor([[0.1, 3.0, 2.9], [5.0, 1.0, 0.0]])
    assert _pick(logits, SamplingParameters(temperature=temperature)) == [1, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_follow_the_softmax_at_their_temperature(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = 4000
    counts = Counter(_pick(logits.expand(draws, 4), SamplingParameters(temperature=temperature)))
    expected = (logits / temperature).softmax(0).double() * draws
    observed = [counts[token] for token in range(4)]
    assert stats.chisquare(observed, (expected * draws / expected.sum()).numpy()).pvalue > 1e-4


def test_top_p_leaves_only_the_nucleus() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2000, 4)
    assert set(_pick(logits, SamplingParameters(temperature=1.0, top_p=0.5))) == {0}
    assert set(_pick(logits, SamplingParameters(temperature=1.0, top_p=0.51))) == {0, 1}
    assert set(_pick(logits, SamplingParameters(temperature=1.0, top_p=0.95))) == {0, 1, 2}


def test_a_nucleus_wider_than_the_first_look_is_found() -> None:
    width = 2 * NUCLEUS_WIDTH
    logits = torch.zeros(1, 2 * width)
    logits[0, :width] = 10.0
    logits += torch.linspace(0.001, 0, 2 * width)
    picked = {_pick(logits, SamplingParameters(temperature=1.0, top_p=0.9), seed)[0] for seed in range(600)}
    assert max(picked) > NUCLEUS_WIDTH
    assert max(picked) < width


def test_rows_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 50)
    parameters = [SamplingParameters(temperature=row / 4, top_p=1.0 - row / 20) for row in range(8)]
    together = pick_tokens(logits, parameters, [random.Random(row) for row in range(8)])
    alone = [pick_tokens(logits[row : row + 1], [parameters[row]], [random.Random(row)])[0] for row in range(8)]
    assert together == alone


def test_a_tiny_temperature_stays_finite() -> None:
    logits = torch.tensor([[100.0, 99.0, -100.0]])
    assert _pick(logits, SamplingParameters(temperature=1e-30)) == [0]
