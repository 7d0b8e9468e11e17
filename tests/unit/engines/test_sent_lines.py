"""The lines of a run that go elsewhere: what is in their file, and what a flow needs besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.engines.cloud.azureml import mini_batch
from phi3flow.engines.cloud.place import FlowWork
from phi3flow.engines.cloud.sent_lines import SentLines
from phi3flow.errors import FlowError
from phi3flow.flows import connection_names, load_flow
from phi3flow.runner import RunPlan
from tests.support.flows.foreign_flows import write_lines
from tests.support.paths import ROOT

CHAT = ROOT / "flows/chat_phi3"
FLOW = """\
inputs:
  question: {type: string}
  asked_at: {type: string}
  temperature: {type: double, default: 0.5}
  chat_history: {type: list}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: python
  source: {type: code, path: ask.py}
  inputs: {question: "${inputs.question}", endpoint: theirs, other: "${inputs.asked_at}"}
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    folder = tmp_path / "flow"
    (folder / ".promptflow").mkdir(parents=True)
    (folder / "flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "ask.py").write_text("", encoding="utf-8")
    return folder


def send(folder: Path, tmp_path: Path, rows: list[dict[str, Any]], *done: int, **options: Any) -> SentLines:
    data = write_lines(tmp_path / "data.jsonl", rows)
    plan = RunPlan(load_flow(folder), data, tmp_path, name="run", **options)
    return SentLines.write(tmp_path / "lines.jsonl", plan.read(), plan.flow, lambda number: number in done)


def read(sent: SentLines) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sent.path.read_text(encoding="utf-8").splitlines()]


def test_the_inputs_are_sent_with_defaults_and_nothing_else(flow: Path, tmp_path: Path) -> None:
    """Every line has every column, and none has a name that a table takes for a date."""
    rows = [
        {"question": "a", "asked_at": "2024-01-01", "ground_truth": "b"},
        {"question": "c", "asked_at": "12", "chat_history": [{"inputs": {}, "outputs": {}}], "temperature": 0},
    ]
    sent = send(flow, tmp_path, rows)
    assert read(sent) == [
        {"question": "a", "input_asked_at_value": "2024-01-01", "temperature": 0.5, "chat_history": []},
        {"question": "c", "input_asked_at_value": "12", "temperature": 0, "chat_history": rows[1]["chat_history"]},
    ]
    assert sent.mapping["asked_at"] == "${data.input_asked_at_value}"
    assert list(sent.numbers) == [0, 1]


def test_what_is_completed_or_lacks_an_input_is_not_sent(flow: Path, tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", **({"asked_at": "now"} if number != 2 else {})} for number in range(4)]
    sent = send(flow, tmp_path, rows, 1, repeats=2)
    assert list(sent.numbers) == [0, 3, 4, 5, 7]
    assert set(sent.refused) == {2, 6}
    assert "refers to ${data.asked_at}, which this line does not have" in sent.refused[2]


@pytest.mark.parametrize(("variant", "names"), [(None, ["phi3_endpoint"]), ("phi3_openai", ["phi3_openai"])])
def test_a_variant_decides_which_connections_a_flow_needs(variant: str | None, names: list[str]) -> None:
    assert connection_names(load_flow(CHAT, variant=variant)) == names
    mine = load_flow(CHAT).with_connections({"chat.connection": "mine"})
    assert connection_names(mine) == ["mine"]


def test_the_tools_file_says_which_inputs_are_connections(flow: Path) -> None:
    assert connection_names(load_flow(flow)) == []
    file = flow / ".promptflow/flow.tools.json"
    inputs = {"endpoint": {"type": ["CustomConnection"]}, "other": {"type": ["OpenAIConnection"]}}
    file.write_text(json.dumps({"code": {"ask.py": {"inputs": inputs}}}), encoding="utf-8")
    assert connection_names(load_flow(flow)) == ["theirs"]
    file.write_text("{", encoding="utf-8")
    with pytest.raises(FlowError, match="flow.tools.json: is not JSON"):
        connection_names(load_flow(flow))


@pytest.mark.parametrize(
    ("count", "nodes", "concurrency", "apart", "size"),
    [(10, 1, None, False, 1), (200, 1, None, False, 3), (100_000, 1, None, False, 10), (1000, 2, 8, False, 7),
     (100_000, 1, None, True, 1)],
)  # fmt: skip
def test_a_mini_batch_is_small_enough_for_all_processes_to_end_together(
    count: int, nodes: int, concurrency: int | None, apart: bool, size: int
) -> None:
    flow = load_flow(CHAT)
    work = FlowWork(flow, Path("lines.jsonl"), count, {}, nodes=nodes, concurrency=concurrency, apart=apart)
    assert mini_batch(work) == size
