"""connect --to foundry: connections that Prompt flow reads, and that flows which run here find."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from phi3flow.connections.resolve import resolve_connection
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.snapshots import resource
from tests.support.command_line import phi3flow
from tests.support.flows.llm_flow import ROUTES, write_llm_flow
from tests.support.servers.fault_endpoint import FaultEndpoint

URL = "https://phi3.eastus2.inference.ml.azure.com/score"
KEY = "key-of-the-endpoint-0123456789"
COMMAND = ["connect", "phi3_azure", "--endpoint", URL, "--to", "foundry"]


@pytest.fixture
def foundry(azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> AzureEmulator:
    """A subscription in which the project exists."""
    monkeypatch.setenv("PHI3_KEY", KEY)
    assert phi3flow("azure", "up", "--yes", cwd=project).returncode == 0
    return azure


def test_the_connection_has_the_endpoint_and_a_secret_key(foundry: AzureEmulator, project: Path) -> None:
    done = phi3flow(*COMMAND, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "connection": "phi3_azure",
        "type": "custom",
        "to": "foundry",
        "project": "phi3flow-project",
        "endpoint": URL,
    }
    made = resource(foundry, "Microsoft.MachineLearningServices/workspaces/connections")
    properties = made["properties"]
    assert "/workspaces/phi3flow-project/" in made["id"]
    assert (properties["category"], properties["authType"]) == ("CustomKeys", "CustomKeys")
    assert (properties["metadata"]["endpoint"], properties["target"]) == (URL, URL)
    assert KEY not in json.dumps(made)
    assert foundry.resources.hidden[made["id"].lower()]["credentials"]["keys"] == {"key": KEY}
    assert KEY not in done.stdout + done.stderr
    assert not [path for path in project.rglob("*") if path.is_file()]


def test_to_azureml_it_is_in_the_workspace(foundry: AzureEmulator, project: Path) -> None:
    done = phi3flow(*COMMAND[:-1], "azureml", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["to"], said["workspace"]) == ("azureml", "phi3flow")
    made = resource(foundry, "Microsoft.MachineLearningServices/workspaces/connections")
    assert "/workspaces/phi3flow/" in made["id"]


@pytest.mark.slow
def test_promptflow_reads_it_as_a_custom_connection(foundry: AzureEmulator, project: Path) -> None:
    """Our own look-up goes through promptflow's provider, as a flow in the cloud does."""
    phi3flow(*COMMAND, cwd=project)
    with contextlib.chdir(project):
        found = resolve_connection("phi3_azure").to_promptflow()
    assert (found["type"], found["secret_keys"]) == ("CustomConnection", ["key"])
    assert found["value"] == {"endpoint": URL, "key": KEY}


def test_a_second_time_sends_no_write(foundry: AzureEmulator, project: Path) -> None:
    phi3flow(*COMMAND, cwd=project)
    writes = len(foundry.writes)
    done = phi3flow(*COMMAND, cwd=project)
    assert "up to date" in done.stdout
    assert len(foundry.writes) == writes


def test_another_connection_of_the_name_is_replaced_only_when_told(
    foundry: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi3flow(*COMMAND, cwd=project)
    monkeypatch.setenv("PHI3_KEY", "another-key-0123456789")
    done = phi3flow(*COMMAND, cwd=project)
    assert done.returncode == 2
    assert "Replace it?" in done.stderr
    assert phi3flow(*COMMAND, "--yes", cwd=project).returncode == 0
    with contextlib.chdir(project):
        assert resolve_connection("phi3_azure").secrets["key"].get_secret_value() == "another-key-0123456789"


def test_without_a_project_the_way_to_one_is_named(
    azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI3_KEY", KEY)
    done = phi3flow(*COMMAND, cwd=project)
    assert done.returncode == 2
    assert "there is no AI Foundry project phi3flow-project: `phi3flow azure up` makes it" in done.stderr


TYPES = {
    "open_ai": ("OpenAI", "/v1", "/v1", {}),
    "azure_open_ai": ("AzureOpenAI", "", "", {"ApiType": "azure", "ApiVersion": "2024-10-21"}),
    "serverless": ("Serverless", "", "", {}),
}


@pytest.mark.parametrize("type_", TYPES)
def test_a_connection_of_prompt_flows_own_types_has_the_category_that_it_reads(
    foundry: AzureEmulator, project: Path, type_: str
) -> None:
    category, route, path, metadata = TYPES[type_]
    command = ["connect", "model", "--type", type_, "--endpoint", f"https://model.test{route}", "--to", "foundry"]
    done = phi3flow(*command, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    made = resource(foundry, "Microsoft.MachineLearningServices/workspaces/connections")
    properties = made["properties"]
    assert (properties["category"], properties["authType"]) == (category, "ApiKey")
    assert properties["target"] == f"https://model.test{path}"
    assert metadata.items() <= properties["metadata"].items()
    assert KEY not in json.dumps(made)
    assert foundry.resources.hidden[made["id"].lower()]["credentials"] == {"key": KEY}
    writes = len(foundry.writes)
    assert "up to date" in phi3flow(*command, cwd=project).stdout
    assert len(foundry.writes) == writes
    another = [*command[:-3], "https://other.test", "--to", "foundry"]
    assert phi3flow(*another, cwd=project).returncode == 2
    assert phi3flow(*another, "--yes", cwd=project).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("type_", TYPES)
def test_batch_run_asks_through_a_connection_of_the_project(
    foundry: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    monkeypatch.delenv("PHI3_KEY")
    monkeypatch.setenv("MODEL_KEY", KEY)
    write_llm_flow(project, type_)
    route, path = ROUTES[type_]
    with FaultEndpoint(key=KEY) as endpoint:
        url = endpoint.base_url + route
        flags = ["--type", type_, "--endpoint", url, "--key-env", "MODEL_KEY", "--to", "foundry"]
        assert phi3flow("connect", "model", *flags, cwd=project).returncode == 0
        monkeypatch.delenv("MODEL_KEY")
        flags = ["--data", "lines.jsonl", "--variant", "phi3_openai", "--name", "run"]
        done = phi3flow("batch-run", "flow", *flags, cwd=project)
        [request] = endpoint.requests
    assert (done.returncode, request.path) == (0, path), done.stderr
