"""Python sources, parsed whatever else happens."""

from __future__ import annotations

import ast
import gc

from phi3flow.flows.source_names import parse_python

SOURCE = "\n".join(f"x{number} = f(a, b)[{number}]" for number in range(500))


def test_a_source_is_parsed_where_another_one_is_at_the_same_time() -> None:
    """What another thread does, done at a known moment: while the tree is made, Python collects garbage."""
    nested: list[ast.Module] = []

    def parse_another(phase: str, _: object) -> None:
        if phase == "stop" and not nested:
            nested.append(ast.parse("1 + " * 50 + "1"))

    thresholds = gc.get_threshold()
    gc.callbacks.append(parse_another)
    gc.set_threshold(1)
    try:
        tree = parse_python(SOURCE)
    finally:
        gc.callbacks.remove(parse_another)
        gc.set_threshold(*thresholds)
    assert nested
    assert len(tree.body) == 500
