"""Tokens and what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.records.runs import TokenTotal
from phi3flow.report.run_view import view_run
from phi3flow.report.tokens_view import price, token_rows
from tests.support.folders.run_folders import line, write_run


@pytest.mark.parametrize(
    ("cost", "written"), [(None, "–"), (0.0, "0.00"), (12.345, "12.35"), (0.01234, "0.0123"), (0.0000123, "0.0000123")]
)
def test_a_cost_keeps_the_digits_that_it_needs(cost: float | None, written: str) -> None:
    assert price(cost) == written


def test_lines_whose_tokens_nobody_counted_are_told(tmp_path: Path) -> None:
    total = TokenTotal(prompt_tokens=10, completion_tokens=5, n_endpoint=1, n_unknown=2)
    run = view_run(write_run(tmp_path / "run", [line(n, "x") for n in range(3)], tokens=total))
    [row] = token_rows([run])
    assert (row.counted_by, row.a_line, row.cost) == ("endpoint 1, nobody 2", "15.0", "–")
    without = view_run(write_run(tmp_path / "without", [line(0, "x")]))
    assert token_rows([without]) == []
    assert [row.name for row in token_rows([without, run])] == ["without", "run"]
