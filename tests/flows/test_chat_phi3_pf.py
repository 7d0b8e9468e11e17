"""The chat flow under pf itself: validate, test, run create, serve, with the connection file of the repository."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.folders.pf_workspace import FLOW, KEY, PF, Workspace
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with FaultEndpoint(key=KEY) as endpoint:
        workspace = Workspace(tmp_path_factory.mktemp("pf"), endpoint)
        workspace.pf("connection", "create", "--file", str(ROOT / "connections" / "phi3_endpoint.yml"))
        yield workspace


def test_pf_validates_the_flow_and_finds_the_tools_that_are_committed(workspace: Workspace) -> None:
    assert '"Succeeded"' in workspace.pf("flow", "validate", "--source", str(workspace.flow))
    found = json.loads((workspace.flow / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))
    assert found == json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))


def test_pf_test_answers_with_the_connection_file_of_the_repository(workspace: Workspace) -> None:
    printed = workspace.pf("flow", "test", "--flow", str(workspace.flow), "--inputs", "question=Where is Paris?")
    assert '"answer": "echo: Where is Paris?"' in printed
    assert workspace.endpoint.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in printed
    assert not any(KEY.encode() in path.read_bytes() for path in workspace.flow.rglob("*") if path.is_file())


@pytest.mark.slow
def test_pf_run_create_completes_with_run_yml(workspace: Workspace) -> None:
    run = ("run", "create", "--file", str(workspace.flow / "run.yml"), "--name", "chat")
    assert '"status": "Completed"' in workspace.pf(*run)
    outputs = (workspace.home / ".promptflow" / ".runs" / "chat" / "flow_outputs" / "output.jsonl").read_text("utf-8")
    questions = [json.loads(line)["question"] for line in (FLOW / "data.jsonl").read_text("utf-8").splitlines()]
    assert [json.loads(line)["answer"] for line in outputs.splitlines()] == [f"echo: {text}" for text in questions]


def test_pf_serve_answers_questions_side_by_side(workspace: Workspace) -> None:
    history = [{"inputs": {"question": "Who?"}, "outputs": {"answer": "Bill."}}]
    with _served(workspace) as url, ThreadPoolExecutor() as pool:

        def ask(question: str) -> object:
            return requests.post(
                f"{url}/score", json={"question": question, "chat_history": history}, timeout=30
            ).json()

        questions = [f"q{number}" for number in range(8)]
        assert list(pool.map(ask, questions)) == [{"answer": f"echo: {question}"} for question in questions]
    assert [message["content"] for message in workspace.endpoint.requests[-1].messages[1:3]] == ["Who?", "Bill."]


@contextlib.contextmanager
def _served(workspace: Workspace) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PF, "flow", "serve", "--source", str(workspace.flow), "--port", str(port), "--host", "127.0.0.1"]
    log = workspace.home / "serve.log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=workspace.environment, stdout=file, stderr=file)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
    assert KEY not in log.read_text(encoding="utf-8", errors="replace")


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        time.sleep(0.1)
    pytest.fail(f"pf flow serve does not answer: {log.read_text(encoding='utf-8', errors='replace')}")
