"""The package's source as it stands in this tree, parsed."""

from __future__ import annotations

import ast
import functools

from tests.support.paths import ROOT

SOURCE = ROOT / "src/phi3flow"


@functools.cache
def source_trees() -> dict[str, ast.Module]:
    """Return every module, by its path in the package."""
    paths = sorted(SOURCE.rglob("*.py"))
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
