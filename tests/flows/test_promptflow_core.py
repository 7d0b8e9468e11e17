"""What the executor leaves unimported: openai and promptflow's client half, until a flow asks for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phi3flow.flows.light_imports import _put_off
from tests.support.paths import ROOT

OPEN = """
import json, sys
from pathlib import Path
from phi3flow.flows import load_flow, open_flow

with open_flow(load_flow(Path(sys.argv[1])), connections=lambda name: {}):
    loaded = [name for name in ("openai.types", "promptflow._sdk._pf_client") if name in sys.modules]
print(json.dumps(loaded))
"""

TOOL = """
import threading

from promptflow.core import tool

clients = []


def ask():
    from openai import OpenAI, OpenAIError

    clients.append((OpenAI, OpenAIError))


@tool
def answer(question: str) -> str:
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    from openai.resources.chat import Completions
    from promptflow.core import Prompty
    from promptflow.tools.common import render_jinja_template

    traced = hasattr(Completions.create, "_original")
    return f"{len(clients)} {len(set(clients))} {clients[0][1].__module__} {traced} {Prompty.__name__}"
"""

DAG = """
inputs:
  question:
    type: string
outputs:
  answer:
    type: string
    reference: ${answer.output}
nodes:
- name: answer
  type: python
  source:
    type: code
    path: answer.py
  inputs:
    question: ${inputs.question}
"""

RUN = """
import asyncio, sys
from pathlib import Path
from phi3flow.flows import load_flow, open_flow

with open_flow(load_flow(Path(sys.argv[1])), connections=lambda name: {}) as session:
    line = asyncio.run(session.exec_line({"question": "?"}, line_number=0, timeout_s=60))
print(line.outputs["answer"])
"""


def _python(program: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_a_flow_of_python_tools_loads_neither_openai_nor_promptflows_client():
    assert json.loads(_python(OPEN, ROOT / "flows" / "eval" / "answer_match")) == []


def test_tools_that_ask_for_openai_get_it_whole_and_traced_also_in_threads_at_once(tmp_path):
    (tmp_path / "flow.dag.yaml").write_text(DAG, encoding="utf-8")
    (tmp_path / "answer.py").write_text(TOOL, encoding="utf-8")
    assert _python(RUN, tmp_path).split() == ["8", "1", "openai", "True", "Prompty"]


def test_a_module_that_is_put_off_and_not_there_is_said_to_be_missing():
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_seen"):
        _put_off("nowhere_to_be_seen", {})
