"""chat: a conversation through a pipe, against an endpoint that also fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Scripted

FLOW = FLOWS / "chat_phi3"
KEY = "key-of-the-test-0123456789"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the repository's connection to the endpoint, and the key in .env."""
    (tmp_path / "connections").mkdir()
    source = FLOW.parents[1] / "connections" / "phi3_endpoint.yml"
    (tmp_path / "connections" / source.name).write_bytes(source.read_bytes())
    (tmp_path / ".env").write_text(f"PHI3_KEY={KEY}\n", encoding="utf-8")
    return tmp_path


def chat(project: Path, url: str, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `phi3flow chat` with ``typed`` on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "phi3flow.cli.main", "chat", *arguments],
        cwd=project,
        env={**os.environ, "PHI3_ENDPOINT": url},
        input=typed,
        capture_output=True,
        text=True,
    )
    assert KEY not in done.stdout + done.stderr
    return done


def test_it_remembers_until_reset_and_ends_at_exit(project: Path) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        done = chat(project, endpoint.url, "Who?\n\nWhen?\n/reset\nWhere?\n/exit\nnever asked\n", str(FLOW))
        sent = [[message["content"] for message in request.messages[1:]] for request in endpoint.requests]
    assert done.returncode == 0, done.stderr
    assert done.stdout == "echo: Who?\necho: When?\necho: Where?\n"
    assert sent == [["Who?"], ["Who?", "echo: Who?", "When?"], ["Where?"]]
    assert "Talking to chat_phi3 (phi3_endpoint)" in done.stderr


def test_an_answer_that_fails_is_one_paragraph_and_the_conversation_goes_on(project: Path) -> None:
    script: list[Scripted] = ["Bill.", 401, {}, "\x1b[31mIn 1975.\x07"]
    with FaultEndpoint(script) as endpoint:
        done = chat(project, endpoint.url, "Who?\nhidden\nblocked\nWhen?", str(FLOW))
        last = endpoint.requests[-1]
    assert done.returncode == 1
    assert done.stdout == "Bill.\n[31mIn 1975.\n"
    errors = [line for line in done.stderr.splitlines() if line.startswith("phi3flow: error: ")]
    assert len(errors) == 2
    assert "the key is wrong or has expired" in errors[0]
    assert "content safety" in errors[1]
    assert "Traceback" not in done.stderr
    assert [message["content"] for message in last.messages[1:]] == ["Who?", "Bill.", "When?"]


def test_json_is_the_conversation_in_prompt_flows_form(project: Path) -> None:
    arguments = (
        str(FLOW),
        "--json",
        "--quiet",
        "--variant",
        "few_shot",
        "--inputs",
        "temperature=0",
        "max_new_tokens=9",
    )
    with FaultEndpoint() as endpoint:
        done = chat(project, endpoint.url, "Who?\n", *arguments)
        [request] = endpoint.requests
    assert json.loads(done.stdout) == {
        "flow": "chat_phi3",
        "variant": "${system_prompt.few_shot}",
        "failed": 0,
        "chat_history": [{"inputs": {"question": "Who?"}, "outputs": {"answer": "echo: Who?"}}],
    }
    assert done.stderr == ""
    assert request.parameters == {"temperature": 0.0, "max_new_tokens": 9}
    assert len(request.messages) == 6


def test_another_connection_is_taken(project: Path) -> None:
    with FaultEndpoint([Reply(answer="I am the base.")]) as endpoint:
        (project / "connections" / "base.yml").write_text(
            f"name: phi3_base\ntype: custom\nconfigs: {{endpoint: '{endpoint.url}'}}\nsecrets: {{key: other}}\n",
            encoding="utf-8",
        )
        done = chat(project, "http://127.0.0.1:1/score", "Who are you?\n", str(FLOW), "--connection", "phi3_base")
    assert (done.returncode, done.stdout) == (0, "I am the base.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        ([str(FLOW), "--variant", "nope"], "the variants are ${system_prompt.concise}"),
        ([str(FLOW), "--inputs", "question=x"], "--inputs question: the flow's other inputs are temperature"),
        ([str(FLOW), "--connection", "nope"], "there is no connection 'nope'"),
        ([str(FLOW.parent / "eval" / "answer_match")], "is no chat flow"),
    ],
)
def test_what_is_wrong_is_said_before_a_question_is_read(project: Path, arguments: list[str], words: str) -> None:
    done = chat(project, "http://127.0.0.1:1/score", "Who?\n", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_the_answer_and_at_the_prompt_the_chat(project: Path) -> None:
    command = [sys.executable, "-m", "phi3flow.cli.main", "chat", str(FLOW)]
    with FaultEndpoint([Reply(fault="hang"), "Bill."]) as endpoint:
        talking = subprocess.Popen(
            command,
            cwd=project,
            env={**os.environ, "PHI3_ENDPOINT": endpoint.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert talking.stdin is not None
        assert talking.stdout is not None
        assert talking.stderr is not None
        talking.stdin.write("hanging\n")
        while not endpoint.requests:
            assert talking.poll() is None, talking.stderr.read()
            time.sleep(0.05)
        talking.send_signal(signal.SIGINT)
        talking.stdin.write("Who?\n")
        assert talking.stdout.readline() == "Bill.\n"
        assert [message["content"] for message in endpoint.requests[-1].messages[1:]] == ["Who?"]
        talking.send_signal(signal.SIGINT)
        printed = talking.communicate()[1]
    assert talking.returncode == 130
    assert "The answer was stopped." in printed
    assert "Traceback" not in printed
