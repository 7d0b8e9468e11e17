"""Pacing's numbers: each has a unit, bounds and a source, and no module keeps one to itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from phi3flow.pacing import tuning
from tests.support.paths import ROOT

MODULES = sorted(path for path in (ROOT / "src/phi3flow/pacing").glob("*.py") if path.name != "tuning.py")


def test_every_number_says_its_unit_its_bounds_and_its_source() -> None:
    names = [name for name in vars(tuning) if name.isupper() and isinstance(getattr(tuning, name), int | float)]
    assert len(names) == len(tuning.TUNABLES) > 40
    for tunable in tuning.TUNABLES:
        assert tunable.low <= tunable.value <= tunable.high
        assert tunable.unit
        assert tunable.source


def test_a_number_outside_of_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1.5 of a window is outside of 0.5 to 1"):
        tuning._tunable(1.5, "of a window", 0.5, 1, "nowhere")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_other_module_of_pacing_names_a_number(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    numbers = [
        ast.unparse(statement)
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for value in ast.walk(statement)
        if isinstance(value, ast.Constant) and type(value.value) in (int, float)
    ]
    of_no_pace = [line for line in numbers if "STATUS" in line or "LONGEST_MESSAGE" in line]
    assert sorted(set(numbers) - set(of_no_pace)) == []
