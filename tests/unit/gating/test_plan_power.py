"""The lines that a gate plans are enough: so many decide, simulated, also where lines share conversations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phi3flow.gating import gate_run, parse_rule
from phi3flow.stats import compare_pairs, estimate_mean
from tests.support.folders.answered_runs import make_run
from tests.support.simulations import rng

SIMULATIONS = 200


def _draw(draw: np.random.Generator, conversations: int, length: int, deviation: float) -> np.ndarray:
    """Return scores of which those of a conversation share a fifth of their variance."""
    shared = np.repeat(draw.normal(0, deviation / 2, conversations), length)
    return shared + draw.normal(0, deviation, conversations * length)


@pytest.mark.parametrize(
    ("length", "conversations", "deviation", "limit"), [(20, 8, 0.1, 0.05), (10, 20, 0.1, 0.03), (40, 7, 0.05, 0.1)]
)
@pytest.mark.parametrize("compares", [True, False])
def test_the_lines_that_a_plan_names_decide(
    tmp_path: Path, length: int, conversations: int, deviation: float, limit: float, compares: bool
) -> None:
    draw = rng(5)
    n = length * conversations
    rows = [{"question": f"q{k}", "conversation_id": f"talk {k // length}"} for k in range(n)]
    scores = 0.5 + _draw(draw, conversations, length, deviation)
    scores += 0.5 - scores.mean()
    base, tuned = (
        make_run(tmp_path, name, rows, ["an answer"] * n, scores={"answer_match": {"f1": column}})
        for name, column in (("base", [0.5] * n), ("tuned", scores.tolist()))
    )
    rule = f"f1 no worse than baseline by {limit}" if compares else f"f1 >= {0.5 - limit}"
    [result] = gate_run(tuned, rules=[parse_rule(rule)], baseline=base if compares else None).rules
    if result.outcome == "passed":
        return
    assert result.lines_needed is not None
    enough = -(-result.lines_needed // length)
    clusters = np.arange(enough * length) // length
    passed = 0
    for _ in range(SIMULATIONS):
        sample = 0.5 + _draw(draw, enough, length, deviation)
        if compares:
            low = compare_pairs(np.full(len(sample), 0.5), sample, rng=draw, clusters=clusters, draws=8).low
            passed += low is not None and low >= -limit
        else:
            low = estimate_mean(sample, clusters=clusters).low
            passed += low is not None and low >= 0.5 - limit
    assert passed / SIMULATIONS > 0.65
