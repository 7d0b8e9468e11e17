"""What stands in a manifest: the keys that say something, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError
from phi3flow.flows import load_flow
from phi3flow.records.runs import Prices, RunParameters
from phi3flow.runner import RunOptions, RunPlan
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.folders.run_folders import line, write_run

BOUNDS = {"timeout_s": 180.0, "max_retries": 5}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {**BOUNDS, "connections": {}}),
        (
            {"repeats": 2, "history": "own"},
            {**BOUNDS, "connections": {}, "history": "own", "repeats": 2, "lines": 3},
        ),
        (
            {"options": RunOptions(prices=Prices(tokens_in=1.0, tokens_out=2.0))},
            {**BOUNDS, "connections": {}, "prices": {"tokens_in": 1.0, "tokens_out": 2.0}},
        ),
    ],
)
def test_a_plan_writes_what_is_not_as_by_default(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    data = write_lines(tmp_path / "lines.jsonl", [{"question": f"q{number}"} for number in range(3)])
    flow = load_flow(write_flow(tmp_path / "flow", ECHO))
    manifest = RunPlan(flow, data, tmp_path / "runs", name="run", **settings).read().manifest
    parameters = json.loads(manifest.model_dump_json())["parameters"]
    assert parameters == expected
    assert list(parameters) == list(expected)
    assert RunParameters.model_validate(parameters) == manifest.parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"made_by": "pf run create"},
        {**BOUNDS, "connections": {"ask.connection": "mine"}, "init": {"style": ["short"]}},
        {**BOUNDS, "connections": {}, "engine": "foundry", "jobs": []},
        {**BOUNDS, "connections": {}, "engine": "azureml", "jobs": ["one-2", "one-3"]},
    ],
)
def test_a_manifest_that_is_read_and_written_is_the_same(tmp_path: Path, parameters: dict[str, Any]) -> None:
    run = write_run(tmp_path / "run", [line(0, "yes")], parameters=parameters)
    again = json.loads(run.manifest.model_dump_json())
    assert again["parameters"] == parameters == run.manifest.model_dump(mode="json")["parameters"]


def test_what_is_not_said_is_as_by_default(tmp_path: Path) -> None:
    manifest = write_run(tmp_path / "run", [line(0, "yes"), line(1, "no")]).manifest
    assert (manifest.parameters.history, manifest.repeats, manifest.lines) == ("given", 1, 2)


def test_a_parameter_of_another_version_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line(0, "yes")])
    file = run.path / "manifest.json"
    manifest = json.loads(file.read_bytes())
    file.write_text(json.dumps(manifest | {"parameters": {"temprature": 1}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"manifest.json: parameters.temprature: .* written by another version"):
        _ = RunFolder(run.path).manifest
