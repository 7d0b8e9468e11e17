"""What a tool returns that JSON has not: by its fields, replaced, or the line's failure at once; never a hung line."""

from __future__ import annotations

import pytest

from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.run_options import run_options

VALUES = {
    "text": "'plain'",
    "pair": "{('a', 'b'): 2}",
    "set": "{1, 2}",
    "object": "object()",
    "bytes": "b'x'",
    "itself": "loop()",
    "deep": "deep()",
    "dataclass": "Point(1, [Point(2, 'é')])",
    "infinity": "[float('inf'), 1.5]",
    "half": "'half a smile: \\ud83d'",
    "half in a list": "[{'a\\ude00': '\\ud83d'}]",
    "error": "1 / 0 if not print('x') else 0",
}
HELPERS = """
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    y: object = None

def loop():
    value = []
    value.append(value)
    return value

def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value

"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("odd")
    table = "{" + ", ".join(f"{name!r}: lambda: {value}" for name, value in VALUES.items()) + "}"
    echo = ECHO.replace("-> str", "-> object")
    code = HELPERS + echo.replace("return question.upper()", f"return {table}[question]()")
    assert code.count("lambda") == len(VALUES)
    plan = RunPlan(
        load_flow(write_flow(folder / "flow", code)),
        write_lines(folder / "lines.jsonl", [{"question": name} for name in VALUES]),
        folder / "runs",
        name="run",
        options=run_options(concurrency=4, timeout_s=30.0),
    )
    return run_flow(plan, connections=dict)


def test_every_line_ends_at_once_and_none_takes_the_process_with_it(run: RunFolder) -> None:
    results = run.results()
    assert [result.inputs["question"] for result in results] == list(VALUES)
    assert not [result for result in results if result.error and result.error.type in ("WorkerDied", "TimeoutError")]
    assert run.manifest.status == "Completed"


@pytest.mark.parametrize("name", ["pair", "set", "object", "bytes", "itself", "deep"])
def test_what_is_no_json_is_the_lines_failure_with_its_reason(run: RunFolder, name: str) -> None:
    error = run.results()[list(VALUES).index(name)].error
    assert error is not None
    assert "the output 'answer' is no JSON: " in error.message
    assert " at 0x" not in error.message


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("text", "plain"),
        ("dataclass", {"x": 1, "y": [{"x": 2, "y": "é"}]}),
        ("infinity", ["Infinity", 1.5]),
        ("half", "half a smile: \ufffd"),
        ("half in a list", [{"a\ufffd": "\ufffd"}]),
    ],
)
def test_what_json_can_say_is_the_answer(run: RunFolder, name: str, answer: object) -> None:
    result = run.results()[list(VALUES).index(name)]
    assert result.error is None
    assert result.outputs["answer"] == answer
