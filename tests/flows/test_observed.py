"""What a flow prints is in logs.txt; --trace keeps what its nodes gave and what a model was sent; its tokens count."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_flow, write_lines
from tests.support.servers.fault_endpoint import FaultEndpoint

ROOT = Path(__file__).parents[2]
KEY = "key-of-the-test-0123456789"
LINES = 60
PRINTS = """
import asyncio, logging, sys, warnings
from promptflow.core import tool

@tool
{kind} ask(question: str) -> str:
    print("first", question)
    {wait}
    print("part of ", end="", flush=sys.stdout.encoding.isascii())
    print(question, file=sys.stdout)
    print("stderr", question, file=sys.stderr)
    logging.getLogger("mine").warning("logged %s", question)
    return question
"""
KINDS = {"def": "import time; time.sleep(0.02)", "async def": "await asyncio.sleep(0.02)"}
LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 phi3flow (INFO|WARNING|ERROR) "
    r"\[(\w+) in line (\d+) \(index starts from 0\)\] (stdout|stderr)> (.*)"
)


def _run(folder: Path, *arguments: object, code: int = 0) -> RunFolder:
    done = phi3flow("batch-run", "flow", "--data", "lines.jsonl", "--name", "run", *arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    return RunFolder(folder / ".runs" / "run")


def _write_two_nodes(folder: Path, ask: str, last: str) -> None:
    """Write a flow whose node ``ask`` gives ``last`` what it found."""
    flow = write_flow(folder, ask, files={"last.py": last})
    dag = (flow / "flow.dag.yaml").read_text().replace("${ask.output}", "${last.output}")
    node = '- {name: last, type: python, source: {type: code, path: last.py}, inputs: {found: "${ask.output}"}}\n'
    (flow / "flow.dag.yaml").write_text(dag + node)


def _log(run: RunFolder) -> list[tuple[str, ...]]:
    matches = map(LOG_LINE.fullmatch, (run.path / "logs.txt").read_text(encoding="utf-8").splitlines())
    return [match.groups() for match in matches if match]


@pytest.mark.parametrize("kind", KINDS)
def test_what_nodes_print_is_in_the_log_by_node_and_line(tmp_path: Path, kind: str) -> None:
    """Many lines at once: promptflow's own capture gives a line's prints to whichever began last."""
    write_flow(tmp_path / "flow", PRINTS.format(kind=kind, wait=KINDS[kind]))
    write_lines(tmp_path / "lines.jsonl", ({"question": f"q{number}"} for number in range(LINES)))
    log = _log(_run(tmp_path, "--concurrency", 16))
    for number in range(LINES):
        name = f"q{number}"
        assert [entry for entry in log if entry[2] == str(number)] == [
            ("INFO", "ask", str(number), "stdout", f"first {name}"),
            ("INFO", "ask", str(number), "stdout", f"part of {name}"),
            ("WARNING", "ask", str(number), "stderr", f"stderr {name}"),
            ("WARNING", "ask", str(number), "stderr", f"WARNING:mine:logged {name}"),
        ]


def test_a_failure_stands_in_the_log_after_what_was_printed(tmp_path: Path) -> None:
    code = PRINTS.format(kind="def", wait="").replace("return question", "return nothing")
    write_flow(tmp_path / "flow", code)
    write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    log = (_run(tmp_path, code=1).path / "logs.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" phi3flow ")[2] for line in log[4:5]] == [
        "ERROR line 0 (index starts from 0) failed (node ask, ask.py:13): NameError: name 'nothing' is not defined"
    ]
    assert log[5] == "Traceback (most recent call last):"
    assert log[-2] == "NameError: name 'nothing' is not defined"
    assert "Completed: 0 of 1 lines completed, 1 failed" in log[-1]


def test_an_aggregation_and_an_evaluation_print_into_logs_of_their_own(tmp_path: Path) -> None:
    mean = "from promptflow.core import tool\n@tool\ndef mean(grades: list):\n    print('grades', grades)\n"
    flow = write_flow(tmp_path / "flow", PRINTS.format(kind="def", wait=""), files={"mean.py": mean})
    node = '- {name: mean, type: python, source: {type: code, path: mean.py}, inputs: {grades: "${ask.output}"}'
    with (flow / "flow.dag.yaml").open("a") as dag:
        dag.write(f"{node}, aggregation: true}}\n")
    evaluation = PRINTS.format(kind="def", wait="").replace("return question", "return 1 / (question != 'q1')")
    write_flow(tmp_path / "grade", evaluation)
    write_lines(tmp_path / "lines.jsonl", ({"question": f"q{number}"} for number in range(2)))
    run = _run(tmp_path)
    assert "[mean in the aggregation] stdout> grades ['q0', 'q1']" in (run.path / "logs.txt").read_text()
    mapping = ["--column-mapping", "question=${run.outputs.answer}"]
    done = phi3flow("score", "run", "--flow", "grade", *mapping, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    place = "(node ask, ask.py:13; the traceback is in run/scores/grade)"
    assert f"line 1: ZeroDivisionError: division by zero {place}" in " ".join(done.stderr.split())
    folder = run.path / "scores" / "grade"
    assert "[ask in line 0 (index starts from 0)] stdout> first q0" in (folder / "logs.txt").read_text()
    assert "ERROR line 1 (index starts from 0) failed (node ask, ask.py:13)" in (folder / "logs.txt").read_text()
    traceback = json.loads((folder / "tracebacks.jsonl").read_text())
    assert (traceback["line_number"], traceback["file"], traceback["file_line"]) == (1, "ask.py", 13)


def test_what_is_printed_has_no_secret_no_control_character_and_an_end(tmp_path: Path) -> None:
    body = (
        "    print('x' * 15_990 + connection.key)\n"
        "    print('\\x1b]52;c;eA==\\x07', connection.key, '\\u202e', '\\ud83d')\n"
        "    print('y' * 2_000_000)\n"
    )
    code = (
        "from promptflow.connections import CustomConnection\nfrom promptflow.core import tool\n\n@tool\n"
        f"def ask(question: str, connection: CustomConnection) -> dict:\n{body}    return {{'key': connection.key}}\n"
    )
    write_flow(tmp_path / "flow", code, connection="mine")
    (tmp_path / "connections").mkdir()
    text = f"name: mine\ntype: custom\nconfigs: {{endpoint: http://127.0.0.1:9}}\nsecrets: {{key: {KEY}}}\n"
    (tmp_path / "connections" / "mine.yml").write_text(text)
    write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    run = _run(tmp_path, "--trace")
    log = (run.path / "logs.txt").read_text(encoding="utf-8")
    assert "***" in log
    assert "more was printed than is kept" in log
    assert len(log) < 20_000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", log)
    [trace] = run.traces().values()
    assert trace.nodes[0].inputs == {"question": "q", "connection": "<CustomConnection mine>"}
    assert trace.nodes[0].output == {"key": "***"}
    for file in run.path.rglob("*"):
        assert not file.is_file() or KEY[:8].encode() not in file.read_bytes(), file


HOSTILE = """
import threading
from promptflow.core import tool

class Odd(dict):
    def items(self): raise ValueError("not looked at")
    def __getattr__(self, name): raise RuntimeError(name)

class OddError(Exception):
    def __str__(self): raise ValueError("not said")

@tool
def ask(question: str) -> object:
    if question == "raise":
        raise OddError()
    for _ in range(20_000):
        print(".", end="")
        print()
    threads = [threading.Thread(target=print, args=("x" * 99,)) for _ in range(20)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    return Odd(a=1) if question == "odd" else "a"
"""


def test_what_is_odd_to_look_at_changes_no_line(tmp_path: Path) -> None:
    last = "from promptflow.core import tool\n@tool\ndef last(found: object) -> str:\n    return type(found).__name__\n"
    _write_two_nodes(tmp_path / "flow", HOSTILE, last)
    write_lines(tmp_path / "lines.jsonl", [{"question": text} for text in ("odd", "raise", "even")])
    run = _run(tmp_path, "--trace", "--max-retries", 0, code=1)
    assert [result.outputs for result in run.results()] == [{"answer": "Odd"}, None, {"answer": "str"}]
    assert run.traces()[0].nodes[0].output == "<Odd>"
    assert run.traces()[1].nodes[0].error  # what promptflow comes to when it looks
    assert (run.path / "logs.txt").read_text().count("more was printed than is kept") == 2


BETWEEN = """
from promptflow.core import tool

@tool
def ask(question: str) -> dict:
    return {"found": [question, 1.5, None], "odd": object(), "nan": float("nan")}
"""


def test_a_trace_has_what_each_node_was_given_and_gave(tmp_path: Path) -> None:
    last = "from promptflow.core import tool\n@tool\ndef last(found: dict) -> str:\n    return found['found'][1] / 0\n"
    _write_two_nodes(tmp_path / "flow", BETWEEN, last)
    write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    run = _run(tmp_path, "--trace", "--max-retries", 0, code=1)
    first, second = run.traces()[0].nodes
    gave = {"found": ["q", 1.5, None], "odd": "<object>", "nan": "nan"}
    assert (first.node, first.inputs, first.output, first.error) == ("ask", {"question": "q"}, gave, None)
    assert (second.node, second.inputs, second.output) == ("last", {"found": gave}, None)
    assert second.error == "ZeroDivisionError: float division by zero"
    assert first.duration_ms < 1_000


def test_without_the_flag_nothing_is_traced(tmp_path: Path) -> None:
    write_flow(tmp_path / "flow", PRINTS.format(kind="def", wait=""))
    write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    run = _run(tmp_path)
    assert not (run.path / "traces.jsonl").exists()
    assert run.traces() == {}


def test_an_engine_that_cannot_trace_refuses(tmp_path: Path) -> None:
    write_flow(tmp_path / "flow", PRINTS.format(kind="def", wait=""))
    write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    done = phi3flow("batch-run", "flow", "--data", "lines.jsonl", "--engine", "azureml", "--trace", cwd=tmp_path)
    assert (done.returncode, "--trace does not go with --engine azureml" in done.stderr) == (2, True), done.stderr


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """A project with the chat flow's connection and a question."""
    (tmp_path / "connections").mkdir()
    write_lines(tmp_path / "lines.jsonl", [{"question": "Who?"}])
    return tmp_path


def _chat(folder: Path, connection: str, *arguments: object) -> Done:
    (folder / "connections" / "phi3_endpoint.yml").write_text(f"name: phi3_endpoint\n{connection}")
    flow = ROOT / "flows" / "chat_phi3"
    return phi3flow("batch-run", flow, "--data", "lines.jsonl", "--name", "run", "--trace", *arguments, cwd=folder)


@pytest.mark.parametrize("variant", ["phi3_endpoint", "phi3_openai"])
def test_the_prompt_that_was_sent_is_in_the_trace_and_its_tokens_count(chat: Path, variant: str) -> None:
    with FaultEndpoint(["Bill."], key=KEY) as endpoint:
        custom = f"type: custom\nconfigs: {{endpoint: '{endpoint.url}'}}\nsecrets: {{key: {KEY}}}\n"
        openai = f"type: open_ai\nbase_url: {endpoint.base_url}/v1\napi_key: {KEY}\n"
        (chat / "connections" / "phi3_openai.yml").write_text(f"name: phi3_openai\n{openai}")
        done = _chat(chat, custom, "--variant", f"chat.{variant}")
        assert done.returncode == 0, done.stderr
        [request] = endpoint.requests
    run = RunFolder(chat / ".runs" / "run")
    calls = [call for node in run.traces()[0].nodes for call in node.calls]
    [sent] = [call.request["messages"] for call in calls]
    assert sent == request.messages
    assert "Bill." in json.dumps(calls[0].answer)
    assert KEY not in (run.path / "traces.jsonl").read_text()
    usage = run.results()[0].usage
    if variant == "phi3_openai":  # the other protocol tells of no tokens
        words = sum(len(message["content"].split()) for message in request.messages)
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.counted_by) == (words, 1, "endpoint")
