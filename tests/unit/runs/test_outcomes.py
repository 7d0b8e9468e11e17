"""What a run's tokens cost is known of lines that somebody counted."""

from __future__ import annotations

import pytest

from phi3flow.records.lines import Usage
from phi3flow.records.runs import Prices
from phi3flow.runs.outcomes import LineOutcomes
from phi3flow.text import money

PRICES = Prices(tokens_in=10.0, tokens_out=100.0)


@pytest.mark.parametrize(("counted", "cost"), [(0, None), (1, 0.00012), (2, 0.00024)])
def test_what_nobody_counted_has_no_cost(counted: int, cost: float | None) -> None:
    outcomes = LineOutcomes(2)
    for number in range(2):
        usage = Usage(prompt_tokens=2, completion_tokens=1) if number < counted else None
        outcomes.add(number, completed=True, attempts=1, usage=usage)
    assert outcomes.tokens(PRICES).cost == (None if cost is None else pytest.approx(cost))
    assert outcomes.tokens(PRICES).n_unknown == 2 - counted
    assert outcomes.tokens(None).cost is None


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        *((0.0, "0.00"), (0.004321, "0.00432"), (0.05, "0.05"), (0.999, "0.999"), (1.0, "1.00")),
        *((12345.678, "12,345.68"), (0.0000123, "0.0000123")),
    ],
)
def test_money_has_digits_enough(amount: float, shown: str) -> None:
    assert money(amount) == shown
