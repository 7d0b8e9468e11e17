"""The documents' own minimal flow, as a person pastes it, runs unchanged under pf and under batch-run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import write_lines
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

BIN = Path(sys.executable).parent
KEY = "key-of-the-test-0123456789"

FLOW = """\
inputs:
  input_data:
    type: string
    default: "Who founded Microsoft?"

outputs:
  answer:
    type: string
    reference: ${integrate_with_promptflow.output}

nodes:
- name: integrate_with_promptflow
  type: python
  source:
    type: code
    path: integrate_with_promptflow.py
  inputs:
    connection: connection
    input_data: ${inputs.input_data}
"""

TOOL = '''\
import logging
import requests
from promptflow import tool
from promptflow.connections import CustomConnection

# Logging setup
logging.basicConfig(
    format="%(asctime)s - %(levelname)s - %(name)s - %(message)s",
    datefmt="%Y-%m-%d %H:%M:%S",
    level=logging.DEBUG
)
logger = logging.getLogger(__name__)

def query_phi3_model(input_data: str, connection: CustomConnection) -> str:
    """
    Send a request to the Phi-3 model endpoint with the given input data using Custom Connection.
    """

    # "connection" is the name of the Custom Connection, "endpoint", "key" are the keys in the Custom Connection
    endpoint_url = connection.endpoint
    api_key = connection.key

    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {api_key}"
    }
    data = {
        "input_data": {
            "input_string": [
                {"role": "user", "content": input_data}
            ],
            "parameters": {
                "temperature": 0.7,
                "max_new_tokens": 128
            }
        }
    }
    try:
        response = requests.post(endpoint_url, json=data, headers=headers)
        response.raise_for_status()

        # Log the full JSON response
        logger.debug(f"Full JSON response: {response.json()}")

        result = response.json()["output"]
        logger.info("Successfully received response from Azure ML Endpoint.")
        return result
    except requests.exceptions.RequestException as e:
        logger.error(f"Error querying Azure ML Endpoint: {e}")
        raise

@tool
def my_python_tool(input_data: str, connection: CustomConnection) -> str:
    """
    Tool function to process input data and query the Phi-3 model.
    """
    return query_phi3_model(input_data, connection)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the flow in ``flow``."""
    flow = tmp_path / "flow"
    flow.mkdir()
    (flow / "flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    (flow / "integrate_with_promptflow.py").write_text(TOOL, encoding="utf-8")
    return tmp_path


def _run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=project,
        env={**os.environ, "PHI3_KEY": KEY},
        capture_output=True,
        text=True,
    )
    assert KEY not in done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_pf_runs_the_documents_flow_with_a_connection_made_by_connect(project: Path) -> None:
    with FaultEndpoint(["Bill Gates and Paul Allen."], key=KEY) as endpoint:
        connected = _run(project, "phi3flow", "connect", "connection", "--endpoint", endpoint.url, "--to", "pf")
        assert connected.returncode == 0, connected.stderr
        done = _run(project, "pf", "flow", "test", "--flow", "flow")
        [request] = endpoint.requests
    assert done.returncode == 0, done.stderr
    assert '"answer": "Bill Gates and Paul Allen."' in done.stdout
    question = {"role": "user", "content": "Who founded Microsoft?"}
    parameters = {"temperature": 0.7, "max_new_tokens": 128}
    assert request.json == {"input_data": {"input_string": [question], "parameters": parameters}}


def test_batch_run_runs_the_documents_flow_with_a_connection_made_by_connect(project: Path) -> None:
    seen: set[str] = set()

    def busy_at_first(request: Request) -> Reply | None:
        first = request.question not in seen
        seen.add(request.question)
        return Reply(429, headers={"Retry-After": "0"}) if first and request.question == "q1" else None

    write_lines(project / "lines.jsonl", ({"question": f"q{number}"} for number in range(4)))
    with FaultEndpoint(busy_at_first, key=KEY) as endpoint:
        connected = _run(project, "phi3flow", "connect", "connection", "--endpoint", endpoint.url)
        assert connected.returncode == 0, connected.stderr
        mapping = "input_data=${data.question}"
        command = (
            "phi3flow",
            "batch-run",
            "flow",
            "--data",
            "lines.jsonl",
            "--column-mapping",
            mapping,
            "--name",
            "run",
        )
        done = _run(project, *command, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"total": 4, "completed": 4, "failed": 0, "retries": 1}
    results = RunFolder(project / ".runs" / "run").results()
    assert [result.outputs for result in results] == [{"answer": f"echo: q{number}"} for number in range(4)]
    assert not any(KEY.encode() in path.read_bytes() for path in project.rglob("*") if path.is_file())
