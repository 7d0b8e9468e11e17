"""The house's taste, where it can be counted: rooms that say what they are for, short functions, plain names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source import SOURCE, source_trees

ROOMS = sorted({path.parent for path in SOURCE.glob("*/*.py")})
LONGEST_FUNCTION, LONGEST_FILE = 40, 400
VAGUE = {"each", "found", "one", "given", "asked", "made"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_what_it_is_for_and_what_it_never_does(room: Path) -> None:
    sentences = re.split(r"[.!?](?:\s+|$)", ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "")
    assert len(sentences) > 2
    assert any(re.search(r"\b(never|nothing|no|only)\b", sentence, re.IGNORECASE) for sentence in sentences)


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_long() -> None:
    long = [
        f"{path} {node.name}"
        for path, tree in source_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def _bindings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            yield node.name


def test_what_has_a_name_is_called_by_it() -> None:
    """``found`` and ``each`` say how a thing was come by; a deployment is a ``deployment``."""
    vague = [f"{path}: {name}" for path, tree in source_trees().items() for name in _bindings(tree) if name in VAGUE]
    assert vague == []
