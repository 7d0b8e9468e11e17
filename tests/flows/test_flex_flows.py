"""Flex flows, whose whole is a Python function or class, under batch-run and score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError, FlowError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from phi3flow.scoring import score_run
from tests.support.flows.foreign_flows import connection, write_lines
from tests.support.run_options import run_options
from tests.support.servers.fault_endpoint import FaultEndpoint

LINES = [{"question": f"q{number}", "ground_truth": f"q{number}"} for number in range(6)]

FUNCTION = """
def ask(question: str, greeting: str = "hello") -> str:
    return f"{greeting} {question}"
"""
ASYNC_FUNCTION = FUNCTION.replace("def", "async def")
DATACLASS = """
from dataclasses import dataclass

@dataclass
class Answer:
    answer: str
    length: int

def ask(question: str) -> Answer:
    return Answer(answer=question.upper(), length=len(question))
"""
CLIENT = """
import requests
from promptflow.connections import CustomConnection
from promptflow.tracing import trace

class Chat:
    def __init__(self, endpoint: CustomConnection, temperature: float = 0.0):
        self.endpoint = endpoint
        self.temperature = temperature

    @trace
    def __call__(self, question: str) -> dict:
        body = {"input_data": {"input_string": [{"role": "user", "content": question}],
                               "parameters": {"temperature": self.temperature}}}
        headers = {"Authorization": f"Bearer {self.endpoint.key}"}
        response = requests.post(self.endpoint.endpoint, json=body, headers=headers)
        response.raise_for_status()
        return {"answer": response.json()["output"]}
"""
EVALUATION = """
class Match:
    def __call__(self, answer: str, ground_truth: str) -> dict:
        return {"match": float(answer == ground_truth)}

    def __aggregate__(self, lines: list) -> dict:
        return {"matches": sum(line["match"] for line in lines)}
"""


def _write(folder: Path, code: str, entry: str, extra: str = "") -> Path:
    folder.mkdir()
    (folder / "flow.flex.yaml").write_text(f"entry: {entry}\n{extra}", encoding="utf-8")
    (folder / "ask.py").write_text(code, encoding="utf-8")
    return folder


def _run(tmp_path: Path, flow: Path, url: str = "http://127.0.0.1:1", **arguments: Any) -> RunFolder:
    plan = RunPlan(
        load_flow(flow).with_init(arguments.pop("init", {})),
        write_lines(tmp_path / "lines.jsonl", LINES),
        tmp_path / "runs",
        name="run",
        options=run_options(concurrency=4, **arguments.pop("options", {})),
    )
    return run_flow(plan, connections=lambda name: connection(url))


@pytest.mark.parametrize("code", [FUNCTION, ASYNC_FUNCTION], ids=["sync", "async"])
def test_a_function_answers_every_line_and_its_default_applies(tmp_path: Path, code: str) -> None:
    run = _run(tmp_path, _write(tmp_path / "flow", code, "ask:ask"))
    assert [result.outputs for result in run.results()] == [{"output": f"hello q{n}"} for n in range(6)]
    assert not (run.path / "run_metadata.json").exists()


def test_a_dataclass_becomes_outputs_by_its_fields(tmp_path: Path) -> None:
    run = _run(tmp_path, _write(tmp_path / "flow", DATACLASS, "ask:ask"))
    assert run.results()[0].outputs == {"answer": "Q0", "length": 2}


def test_inputs_declared_in_the_yaml_come_before_the_signature(tmp_path: Path) -> None:
    extra = "inputs:\n  question: {type: string}\n  greeting: {type: string, default: bye}\n"
    run = _run(tmp_path, _write(tmp_path / "flow", FUNCTION, "ask:ask", extra))
    assert run.results()[0].outputs == {"output": "bye q0"}


def test_a_class_gets_its_connection_and_a_refusal_keeps_its_status(tmp_path: Path) -> None:
    flow = _write(tmp_path / "flow", CLIENT, "ask:Chat")
    with FaultEndpoint(lambda request: 400 if request.question == "q2" else None, key="key-of-the-test") as endpoint:
        run = _run(tmp_path, flow, endpoint.url, init={"endpoint": "endpoint", "temperature": 0.5})
        assert {request.parameters["temperature"] for request in endpoint.requests} == {0.5}
    results = run.results()
    assert results[0].outputs == {"answer": "echo: q0"}
    assert [result.line_number for result in results if result.status == "Failed"] == [2]
    assert results[2].error is not None
    assert (results[2].error.type, results[2].error.status_code) == ("HTTPError", 400)
    assert run.manifest.parameters.init == {"endpoint": "endpoint", "temperature": 0.5}


@pytest.mark.parametrize("code", [FUNCTION, ASYNC_FUNCTION], ids=["sync", "async"])
def test_a_line_that_takes_too_long_fails_and_the_others_complete(tmp_path: Path, code: str) -> None:
    wait = "import asyncio; await asyncio.sleep" if "async" in code else "import time; time.sleep"
    slow = code.replace("    return", f"    {wait}(30 if question == 'q1' else 0)\n    return")
    run = _run(tmp_path, _write(tmp_path / "flow", slow, "ask:ask"), options={"timeout_s": 1.0, "max_retries": 0})
    failed = [result for result in run.results() if result.status == "Failed"]
    assert [result.line_number for result in failed] == [1]
    assert failed[0].error is not None
    assert (failed[0].error.type, failed[0].error.message) == ("TimeoutError", "no answer within 1 s")


def test_a_flex_evaluation_scores_a_run_and_logs_its_aggregate(tmp_path: Path) -> None:
    run = _run(tmp_path, _write(tmp_path / "flow", DATACLASS.replace(".upper()", ""), "ask:ask"))
    evaluation = _write(tmp_path / "evaluation", EVALUATION, "ask:Match")
    metrics = score_run(run, flow=load_flow(evaluation), connections=dict).metrics
    assert (metrics["match"].mean, metrics["matches"].mean) == (1.0, 6.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("ask", "write module:function or module:Class"),
        ("gone:ask", "entry gone:ask: ModuleNotFoundError: No module named 'gone'"),
        ("ask:gone", r"ask\.py has no function gone and no class gone with __call__"),
    ],
)
def test_an_entry_that_is_not_there_is_named(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        load_flow(_write(tmp_path / "flow", FUNCTION, entry))


def test_connections_and_variants_are_refused_for_a_flex_flow(tmp_path: Path) -> None:
    flow = _write(tmp_path / "flow", FUNCTION, "ask:ask")
    with pytest.raises(ConfigError, match="has no variants"):
        load_flow(flow, variant="concise")
    with pytest.raises(ConfigError, match="is a flex flow and has no nodes; use --init"):
        load_flow(flow).with_connections({"ask.connection": "other"})
