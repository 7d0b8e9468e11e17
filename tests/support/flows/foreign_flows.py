"""Flow folders that are not ours, written by tests: one Python node ``ask`` with the code that a test gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ECHO = """
from promptflow.core import tool

@tool
def ask(question: str) -> str:
    return question.upper()
"""

ASYNC_CLIENT = """
import aiohttp
from promptflow.connections import CustomConnection
from promptflow.core import tool

@tool
async def ask(question: str, connection: CustomConnection) -> str:
    headers = {"Authorization": f"Bearer {connection.key}"}
    body = {"input_data": {"input_string": [{"role": "user", "content": question}], "parameters": {}}}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.post(connection.endpoint, json=body, headers=headers) as response:
            return (await response.json())["output"]
"""

SYNC_CLIENT = """
import requests
from promptflow.connections import CustomConnection
from promptflow.core import tool

@tool
def ask(question: str, connection: CustomConnection) -> str:
    headers = {"Authorization": f"Bearer {connection.key}"}
    body = {"input_data": {"input_string": [{"role": "user", "content": question}], "parameters": {}}}
    response = requests.post(connection.endpoint, json=body, headers=headers)
    response.raise_for_status()
    return response.json()["output"]
"""


def write_flow(
    folder: Path, code: str, *, connection: str | None = None, files: Mapping[str, str] | None = None
) -> Path:
    """Write a flow: input question, node ask (``code``), output answer; return its folder."""
    inputs = {"question": "${inputs.question}"} | ({"connection": connection} if connection else {})
    dag = {
        "inputs": {"question": {"type": "string"}},
        "outputs": {"answer": {"type": "string", "reference": "${ask.output}"}},
        "nodes": [{"name": "ask", "type": "python", "source": {"type": "code", "path": "ask.py"}, "inputs": inputs}],
    }
    folder.mkdir(parents=True)
    (folder / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    for name, content in {"ask.py": code, **(files or {})}.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON Lines and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def connection(url: str, key: str = "key-of-the-test") -> dict[str, Any]:
    """Return a custom connection in promptflow's dict form."""
    return {
        "type": "CustomConnection",
        "module": "promptflow.connections",
        "value": {"endpoint": url, "key": key},
        "secret_keys": ["key"],
    }
