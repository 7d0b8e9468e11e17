"""Commands that fail, with keys of every kind: no file, no terminal and no process list has the key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.support.flows.foreign_flows import write_flow, write_lines
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

ROOT = Path(__file__).parents[2]
KEYS = {
    "plain": "key-of-the-test-0123456789",
    "odd": "p\u00e4ss\"w\\ord/+%20 'x' 0123",
    "a word": "ollamaollamaollama",
    "a short word": "ollama",
    "one letter": "k",
    "long": "eyJ" + "aB3-_" * 80,
}
COMMAND = [sys.executable, "-m", "phi3flow"]
CHAT = str(ROOT / "flows" / "chat_phi3")
RUN = ("batch-run", "--data", "lines.jsonl", "--max-retries", "0", "--timeout-s", "5")
TOOL = """
import logging, sys
from promptflow.connections import CustomConnection
from promptflow.core import tool

@tool
def ask(question: str, connection: CustomConnection) -> str:
    key = connection.key
    {body}
"""
TOOLS = {
    "raises": "raise ValueError(f'refused: {key} ' + 'x' * 3000)",
    "across every cut": "raise ValueError(''.join('x' * (size - len(key) // 2) + key for size in (400, 2000, 8000)))",
    "raises from another": "\n    try: raise KeyError(key)\n    except KeyError as error: raise OSError() from error",
    "prints": "print(key); print(key, file=sys.stderr); logging.warning(key); raise ValueError('odd')",
}


def _echo(request: Request) -> Reply:
    """Return a refusal that says the key wherever it can."""
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    body = json.dumps({"error": {"code": "refused", "message": f"the key {key} is none: {'x' * 300} {key}"}})
    return Reply(401, body=body, headers={"X-Key": quote(key), "Location": f"/{quote(key)}"})


COMMANDS = {
    "echo": (*RUN, CHAT),
    "echo, traced": (*RUN, CHAT, "--trace", "--cache"),
    "debug": (*RUN, CHAT, "--debug"),
    "json": (*RUN, CHAT, "--json"),
    "nobody there": (*RUN, CHAT),
    "chat": ("chat", CHAT),
    "deploy": ("deploy", "--backend", "local", "nothing", "--key-env", "PHI3_KEY"),
    "serve": ("serve", "nothing", "--key-env", "PHI3_KEY"),
    "connect": ("connect", "again", "--endpoint", "http://127.0.0.1:9/score?code=QUOTED", "--key-env", "PHI3_KEY"),
    **{f"a tool {name}": (*RUN, "flow", "--trace") for name in TOOLS},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "connections").mkdir()
    values = "configs: {endpoint: '${env:PHI3_ENDPOINT}'}\nsecrets: {key: '${env:PHI3_KEY}'}\n"
    (tmp_path / "connections" / "phi3_endpoint.yml").write_text(f"name: phi3_endpoint\ntype: custom\n{values}")
    write_lines(tmp_path / "lines.jsonl", [{"question": f"q{number}"} for number in range(3)])
    return tmp_path


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        pytest.param(command, kind, marks=() if (number + n) % 12 == 0 else pytest.mark.slow)
        for number, command in enumerate(COMMANDS)
        for n, kind in enumerate(KEYS)
    ],
)
def test_the_key_is_nowhere(project: Path, command: str, kind: str) -> None:
    key = KEYS[kind]
    if command.startswith("a tool "):
        code = TOOL.replace("{body}", TOOLS[command.removeprefix("a tool ")])
        write_flow(project / "flow", code, connection="phi3_endpoint")
    arguments = [word.replace("QUOTED", quote(key)) for word in COMMANDS[command]]
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with FaultEndpoint(_echo) as endpoint:
        url = "http://127.0.0.1:9/score" if command == "nobody there" else endpoint.url
        environment = {**os.environ, "PHI3_ENDPOINT": url, "PHI3_KEY": key}
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        lists = _command_lines(process)
        output, errors = process.communicate(b"Who?\n", timeout=120)
    assert process.returncode in (1, 2, 3), errors
    said = {"stdout": output, "stderr": errors, "process list": lists.encode()}
    files = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    own = "/snapshot/"  # the flow's files, as they are
    said |= {str(path): text for path, text in files.items() if before.get(path) != text and own not in str(path)}
    shown = {place: content for place, content in said.items() if _holds(content, key)}
    assert shown == {}


def _command_lines(process: subprocess.Popen[bytes]) -> str:
    """Return the command lines of a process and of what it starts, as they are within its first seconds."""
    seen: set[str] = set()
    until_s = time.monotonic() + 1.5
    while process.poll() is None and time.monotonic() < until_s:
        try:
            command = psutil.Process(process.pid)
            children = command.children(recursive=True)
            seen |= {" ".join(each.cmdline()[1:]) for each in children}
        except psutil.Error:
            continue
        time.sleep(0.05)
    return "\n".join(seen)


def _holds(content: bytes, key: str) -> bool:
    """Whether a text has a key, or most of it, in some form; one that is a word, where an error says it.

    One of fewer than four letters cannot be told from what it stands between: it is warned of.
    """
    text = content.decode("utf-8", "replace")
    if len(key) < 4:
        return "***" in text
    if len(key) < 12:
        return f"the key {key} is none" in text or f"refused: {key} " in text
    forms = {key, quote(key), json.dumps(key)[1:-1], repr(key)[1:-1]}
    return any(part in text for form in forms for part in (form[: len(form) * 2 // 3], form[-len(form) * 2 // 3 :]))
