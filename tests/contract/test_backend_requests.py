"""A request names everything that any backend reads, and each backend follows or refuses all of it."""

from __future__ import annotations

import ast
import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from phi3flow.backends.backend import DeploymentRequest, FineTuneRequest
from phi3flow.backends.choice import BACKENDS


@pytest.mark.parametrize("request_type", [FineTuneRequest, DeploymentRequest], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", BACKENDS)
def test_it_reads_or_refuses_every_field_of_a_request(name: str, request_type: type) -> None:
    """A flag that a backend overlooks is taken for one that it follows."""
    module = importlib.import_module(BACKENDS[name].partition(":")[0])
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(module.__file__ or "").parent.glob("*.py")]
    attributes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "request"}
    if "files" in read:
        read |= {"train", "validation"}
    assert {field.name for field in fields(request_type)} - read - set(module._REFUSED) == set()
