"""A sample default is no data: no tool is asked what no line asks, by whichever way a line comes to its flow."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3flow.errors import ColumnMappingError
from phi3flow.flows import load_flow, open_flow
from phi3flow.records.lines import LineResult
from phi3flow.runner import RunPlan
from phi3flow.storage.jsonl import encode_rows
from phi3flow.workers.attempt import Attempts
from phi3flow.workers.messages import Attempt, Begin
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines

SAMPLE = "Who founded Microsoft?"
ROWS: list[dict[str, Any]] = [
    {"question": "q0", "note": "n"},
    {"note": "n"},
    {"question": None, "note": "n"},
    {"question": "", "note": "n"},
]
REASONS = {
    1: "column_mapping.question refers to ${data.question}, which this line does not have",
    2: "question is null in this line (${data.question})",
}
CHAT = """
inputs:
  chat_history: {type: list, default: [], is_chat_history: true}
  question: {type: string, default: "Who founded Microsoft?", is_chat_input: true}
  temperature: {type: double, default: 0}
outputs:
  answer: {type: string, reference: "${ask.output}", is_chat_output: true}
nodes:
- name: ask
  type: python
  source: {type: code, path: ask.py}
  inputs: {question: "${inputs.question}", temperature: "${inputs.temperature}", history: "${inputs.chat_history}"}
"""
ASK = ECHO.replace("question: str", "question: str, temperature: float, history: list").replace(".upper()", "")
FLEX = {
    "function": 'def ask(question: str = "Who founded Microsoft?", chat_history: list = []):\n    return question\n',
    "class": 'class ask:\n    def __call__(self, question: str = "Who founded Microsoft?"):\n        return question\n',
    "constant": 'SAMPLE = "Who founded Microsoft?"\n\ndef ask(question: str = SAMPLE, temperature: float = 0.7):\n'
    "    return question\n",
    "unannotated": 'def ask(question="Who founded Microsoft?", *, chat_history=()):\n    return question\n',
    "asynchronous": 'async def ask(*, question: str = "Who founded Microsoft?"):\n    return question\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_flow(tmp_path / "flow", ASK)
    (tmp_path / "flow" / "flow.dag.yaml").write_text(CHAT, encoding="utf-8")
    write_lines(tmp_path / "lines.jsonl", ROWS)
    write_lines(tmp_path / "prompts.jsonl", [{"prompt": "p0", "ground_truth": "g"}, {"ground_truth": "g"}])
    return tmp_path


def _flex(folder: Path, code: str) -> None:
    (folder / "flow" / "flow.dag.yaml").unlink()
    (folder / "flow" / "flow.flex.yaml").write_text("entry: ask:ask\n", encoding="utf-8")
    (folder / "flow" / "ask.py").write_text(code, encoding="utf-8")


def _run(folder: Path, data: str, *flags: object) -> Done:
    return phi3flow("batch-run", "flow", "--data", data, "--name", "run", *flags, cwd=folder)


def _results(folder: Path) -> dict[int, LineResult]:
    results = (folder / ".runs" / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return {result.line_number: result for result in map(LineResult.model_validate_json, results)}


def _outcomes(folder: Path, output: str = "answer") -> dict[int, Any]:
    """Return each line's answer, or the reason why it has none."""
    results = _results(folder).items()
    return {n: result.error.message if result.error else (result.outputs or {})[output] for n, result in results}


@pytest.mark.parametrize("flags", [(), ("--dry-run",), ("--fresh",), ("--history", "own"), ("--limit", 1)])
def test_where_no_column_reaches_the_chat_input_nothing_runs(folder: Path, flags: tuple[object, ...]) -> None:
    done = _run(folder, "prompts.jsonl", *flags)
    assert done.returncode == 2
    assert "--column-mapping question='${data.prompt}'" in done.stderr
    assert "the columns are ${data.prompt}, ${data.ground_truth}" in done.stderr
    assert not (folder / ".runs" / "run").exists()


@pytest.mark.parametrize("kind", FLEX)
def test_the_default_of_a_flex_flows_question_is_no_data_either(folder: Path, kind: str) -> None:
    _flex(folder, FLEX[kind])
    done = _run(folder, "prompts.jsonl")
    assert done.returncode == 2
    assert "--column-mapping question='${data.prompt}'" in done.stderr
    assert _run(folder, "lines.jsonl").returncode == 1
    assert _outcomes(folder, "output") == {0: "q0", **REASONS, 3: ""}


def test_one_line_without_a_question_fails_with_the_reason_and_an_empty_one_is_asked(folder: Path) -> None:
    done = _run(folder, "lines.jsonl", "--json")
    assert done.returncode == 1
    assert _outcomes(folder) == {0: "q0", **REASONS, 3: ""}
    assert done.stderr == ""


def test_a_mapped_column_that_one_line_lacks_fails_that_line(folder: Path) -> None:
    assert _run(folder, "prompts.jsonl", "--column-mapping", "question=${data.prompt}").returncode == 1
    assert _outcomes(folder) == {
        0: "p0",
        1: "column_mapping.question refers to ${data.prompt}, which this line does not have",
    }


def test_who_writes_the_sample_into_the_mapping_is_asked_it_without_a_word(folder: Path) -> None:
    done = _run(folder, "prompts.jsonl", "--column-mapping", f"question={SAMPLE}")
    assert (done.returncode, done.stderr) == (0, "")
    assert _outcomes(folder) == {0: SAMPLE, 1: SAMPLE}


@pytest.mark.parametrize(
    ("mapping", "returncode"),
    [("question: ${data.prompt}", 1), ("question: Hi", 0), ("question:", 2), ("temperature: 0", 2)],
)
def test_a_run_ymls_mapping_counts_like_the_flag(folder: Path, mapping: str, returncode: int) -> None:
    (folder / "run.yml").write_text(f"column_mapping:\n  {mapping}\n", encoding="utf-8")
    assert _run(folder, "prompts.jsonl", "--run", "run.yml").returncode == returncode


def test_a_variant_is_refused_like_the_flow(folder: Path) -> None:
    nodes = CHAT[CHAT.index("  type: python") :].replace("\n  ", "\n          ")
    dag = CHAT[: CHAT.index("  type: python")] + "  use_variants: true\nnode_variants:\n  ask:\n"
    dag += f"    default_variant_id: a\n    variants:\n      a:\n        node:\n        {nodes}"
    dag += f"      b:\n        node:\n        {nodes}"
    (folder / "flow" / "flow.dag.yaml").write_text(dag, encoding="utf-8")
    assert _run(folder, "lines.jsonl", "--variant", "b").returncode == 1
    assert _outcomes(folder) == {0: "q0", **REASONS, 3: ""}
    done = _run(folder, "prompts.jsonl", "--variant", "b", "--fresh")
    assert (done.returncode, "--column-mapping question='${data.prompt}'" in done.stderr) == (2, True)


def test_the_same_command_again_still_asks_no_sample_nor_does_the_cache(folder: Path) -> None:
    write_lines(folder / "sample.jsonl", [{"question": SAMPLE}])
    assert phi3flow("batch-run", "flow", "--data", "sample.jsonl", "--cache", cwd=folder).returncode == 0
    for _ in range(2):
        assert _run(folder, "lines.jsonl", "--cache").returncode == 1
        assert _outcomes(folder) == {0: "q0", **REASONS, 3: ""}


def test_a_turn_without_a_question_fails_and_so_do_the_turns_that_follow_it(folder: Path) -> None:
    turns = [("c1", "a"), ("c1", None), ("c1", "b"), ("c2", "c")]
    write_lines(folder / "turns.jsonl", [{"conversation_id": c, "question": q} for c, q in turns])
    assert _run(folder, "turns.jsonl", "--history", "own").returncode == 1
    outcomes = _outcomes(folder)
    assert (outcomes[0], outcomes[1], outcomes[3]) == ("a", REASONS[2], "c")
    assert "line 1, an earlier turn of conversation c1, failed" in outcomes[2]


def test_what_is_doubtful_is_said_and_what_sets_something_is_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dag = CHAT.replace("inputs:\n", 'inputs:\n  context: {type: string, default: ""}\n', 1)
    dag = dag.replace("inputs: {q", 'inputs: {context: "${inputs.context}", q')
    (folder / "flow" / "flow.dag.yaml").write_text(dag, encoding="utf-8")
    (folder / "flow" / "ask.py").write_text(ASK.replace("history:", "context: str, history:"), encoding="utf-8")
    for column, words in {"category": "", "documents": "'context' would be its default '' in every line"}.items():
        write_lines(folder / "more.jsonl", [{"question": "q", column: "d", "ground_truth": "g"}])
        assert _run(folder, "more.jsonl", "--fresh").returncode == 0
        assert words in caplog.text
        assert bool(words) == bool(caplog.records)


TELL = """
from promptflow.core import tool

@tool
def tell(**values) -> object:
    return values["question"]
"""
defaults = st.sampled_from([None, SAMPLE, "", [SAMPLE], {"text": SAMPLE}])
names = st.sampled_from(["question", "ask", "Frage", "user input"])
values = st.sampled_from(["missing", None, "", "q", SAMPLE.upper(), "None"])


@st.composite
def chats(draw: st.DrawFn) -> tuple[str, dict[str, Any], list[dict[str, Any]], dict[str, str]]:
    """A chat input's name, the inputs of its flow, rows, and a mapping."""
    name, default = draw(names), draw(defaults)
    kind = {"list": "list", "dict": "object"}.get(type(default).__name__, "string")
    chat = {"type": kind, "is_chat_input": True} | ({} if default is None else {"default": default})
    inputs = {name: chat, "temperature": {"type": "double", "default": 0.7}}
    column = draw(st.sampled_from([name, "prompt", "x"]))
    drawn = draw(st.lists(values, min_size=1, max_size=4))
    rows = [{"ground_truth": "g"} | ({} if value == "missing" else {column: value}) for value in drawn]
    if kind != "string":
        rows = [
            {key: [value] if isinstance(value, str) and key == column else value for key, value in row.items()}
            for row in rows
        ]
    is_mapped = draw(st.booleans()) and any(column in row for row in rows)
    return name, inputs, rows, {name: f"${{data.{column}}}"} if is_mapped else {}


async def _attempt_all(plan: RunPlan, rows: list[dict[str, Any]]) -> list[LineResult]:
    mapping = plan.read().mapping
    with open_flow(plan.flow, connections=lambda name: {}) as session:
        attempts = Attempts(session, Begin(mapping, 20.0, None))
        lines = [Attempt(number, b"".join(encode_rows([row])), None) for number, row in enumerate(rows)]
        return [LineResult.model_validate_json((await attempts.run(line)).result) for line in lines]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(chats())
def test_no_tool_ever_gets_the_default_of_a_chat_input(chat: Any) -> None:
    name, inputs, rows, mapping = chat
    column = next(iter(mapping.values()), f"${{data.{name}}}")[len("${data.") : -1]
    with tempfile.TemporaryDirectory() as temporary:
        flow = write_flow(Path(temporary) / "flow", TELL, files={"tell.py": TELL})
        node = {"name": "tell", "type": "python", "source": {"type": "code", "path": "tell.py"}}
        dag = {"inputs": inputs, "outputs": {"told": {"type": "object", "reference": "${tell.output}"}}}
        dag |= {"nodes": [{**node, "inputs": {"question": f"${{inputs.{name}}}"}}]}
        (flow / "flow.dag.yaml").write_text(json.dumps(dag), encoding="utf-8")
        data = write_lines(Path(temporary) / "lines.jsonl", rows)
        plan = RunPlan(load_flow(flow), data, Path(temporary) / "runs", name="run", column_mapping=mapping)
        if not any(column in row for row in rows):
            with pytest.raises(ColumnMappingError, match="--column-mapping"):
                plan.read()
            return
        results = asyncio.run(_attempt_all(plan, rows))
    for row, result in zip(rows, results, strict=True):
        if row.get(column) is None:
            assert (result.status, column in (result.error.message if result.error else "")) == ("Failed", True)
        else:
            assert result.outputs == {"told": row[column]}
