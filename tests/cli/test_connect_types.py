"""connect --type: each of Prompt flow's types, in a file and in promptflow's store, reaches a model from a node."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phi3flow.connections.resolve import resolve_connection
from phi3flow.project.state import EndpointState, ProjectState, update
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.llm_flow import ROUTES, write_llm_flow
from tests.support.servers.fault_endpoint import FaultEndpoint

KEY = "key-of-the-test-0123456789"
BIN = Path(sys.executable).parent
AZURE = "https://res.openai.azure.com"
SCHEMAS = "https://azuremlschemas.azureedge.net/promptflow/latest"

URLS: list[tuple[str, str, dict[str, str]]] = [
    ("custom", "https://h/score", {"endpoint": "https://h/score"}),
    ("open_ai", f"{AZURE}/openai/v1", {"base_url": f"{AZURE}/openai/v1"}),
    ("open_ai", "http://127.0.0.1:8000/v1/chat/completions", {"base_url": "http://127.0.0.1:8000/v1"}),
    ("azure_open_ai", f"{AZURE}/", {"api_base": AZURE, "api_type": "azure", "api_version": "2024-10-21"}),
    (
        "azure_open_ai",
        f"{AZURE}/openai/deployments/d/chat/completions?api-version=2025-01-01-preview",
        {"api_base": AZURE, "api_type": "azure", "api_version": "2025-01-01-preview"},
    ),
    ("azure_open_ai", f"{AZURE}/openai/v1/", {"api_base": AZURE, "api_type": "azure", "api_version": "2024-10-21"}),
    ("serverless", "https://n.eastus2.models.ai.azure.com", {"api_base": "https://n.eastus2.models.ai.azure.com"}),
    ("serverless", "https://n.models.ai.azure.com/v1/chat/completions", {"api_base": "https://n.models.ai.azure.com"}),
]
CLASSES = {
    "custom": "CustomConnection",
    "open_ai": "OpenAIConnection",
    "azure_open_ai": "AzureOpenAIConnection",
    "serverless": "ServerlessConnection",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


@pytest.mark.parametrize(("type_", "url", "configs"), URLS)
def test_a_file_of_each_type_has_its_fields_and_resolves(
    project: Path, type_: str, url: str, configs: dict[str, str]
) -> None:
    command = ["connect", "model", "--type", type_, "--endpoint", url, "--json"]
    done = phi3flow(*command, cwd=project)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["type"], said["endpoint"]) == (type_, next(iter(configs.values())))
    file = project / "connections" / "model.yml"
    assert file.read_text().startswith(f"$schema: {SCHEMAS}/{CLASSES[type_]}.schema.json\nname: model\ntype: {type_}\n")
    assert KEY not in file.read_text()
    connection = resolve_connection("model")
    assert (connection.type, connection.configs) == (CLASSES[type_], configs)
    assert [secret.get_secret_value() for secret in connection.secrets.values()] == [KEY]
    written = file.stat().st_mtime_ns
    assert "is up to date" in phi3flow(*command[:-1], cwd=project).stdout
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--type", "open_ai", "--endpoint", "https://h/score"], "/score speaks Azure ML's protocol"),
        (["--type", "serverless", "--endpoint", "https://h/v1?api-version=1"], "has no place for api-version"),
        (["--type", "open_ai", "--endpoint", "https://h/v1", "--protocol", "openai"], "--protocol goes with --type"),
        (["--type", "serverless", "--endpoint", "https://h", "--deployment", "d"], "--deployment goes with --type"),
        (["--type", "klingon", "--endpoint", "https://h"], "invalid choice: 'klingon'"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_type_is_said(project: Path, flags: list[str], words: str) -> None:
    done = phi3flow("connect", "model", *flags, cwd=project)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert not (project / "connections").exists()


@pytest.mark.parametrize(
    ("type_", "address"),
    [
        ("open_ai", "http://127.0.0.1:1/v1"),
        ("serverless", "http://127.0.0.1:1"),
        ("custom", "http://127.0.0.1:1/score"),
    ],
)
def test_a_deployment_on_this_machine_is_reached_by_openais_protocol(project: Path, type_: str, address: str) -> None:
    state = EndpointState(
        backend="local", endpoint="e", deployment="e", url="http://127.0.0.1:1/score", model="m",
        created_at=datetime.now(UTC),
    )  # fmt: skip
    update(lambda _: ProjectState(endpoints=[state]))
    assert phi3flow("connect", "model", "--from-deployment", "--type", type_, cwd=project).returncode == 0
    assert next(iter(resolve_connection("model").configs.values())) == address


def test_a_deployment_of_azure_mls_is_no_server_of_openais_protocol(project: Path) -> None:
    url = "https://e.eastus2.inference.ml.azure.com/score"
    state = EndpointState(
        backend="azureml", endpoint="e", deployment="e", url=url, model="m", created_at=datetime.now(UTC)
    )
    update(lambda _: ProjectState(endpoints=[state]))
    done = phi3flow("connect", "model", "--from-deployment", "--type", "open_ai", cwd=project)
    assert (done.returncode, "speaks Azure ML's protocol" in done.stderr) == (2, True)


FIRST, *OTHERS = ROUTES
EACH = [FIRST, *(pytest.param(type_, marks=pytest.mark.slow) for type_ in OTHERS)]


@pytest.mark.parametrize("type_", EACH)
def test_batch_run_asks_through_a_file_of_the_type(project: Path, type_: str) -> None:
    write_llm_flow(project, type_)
    route, path = ROUTES[type_]
    with FaultEndpoint(key=KEY) as endpoint:
        phi3flow("connect", "model", "--type", type_, "--endpoint", endpoint.base_url + route, cwd=project)
        flags = ["--data", "lines.jsonl", "--variant", "phi3_openai", "--name", "run"]
        done = phi3flow("batch-run", "flow", *flags, cwd=project)
        [request] = endpoint.requests
    assert (done.returncode, request.path) == (0, path), done.stderr
    [result] = RunFolder(project / ".runs" / "run").results()
    assert result.outputs == {"answer": "echo: Who?"}
    assert KEY not in "".join(file.read_text() for file in (project / ".runs").rglob("*.json*"))


IN_THE_STORE = """
import sys
from phi3flow.cli.main import main
from phi3flow.connections.resolve import resolve_connection
command = ["connect", "model", "--type", sys.argv[1], "--to", "pf", "--endpoint"]
once, again = main([*command, sys.argv[2]]), main([*command, sys.argv[2]])
print([once, again, main([*command, "http://127.0.0.1:9", "--yes"])])
connection = resolve_connection("model")
print(connection.type, list(connection.secrets.values())[0].get_secret_value() == sys.argv[3])
print(main([*command, sys.argv[2], "--yes", "--quiet"]))
flags = ["--data", "lines.jsonl", "--variant", "phi3_openai", "--name", "run"]
print(main(["batch-run", "flow", *flags]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("type_", ROUTES)
def test_promptflows_store_has_it_for_pf_and_for_batch_run(project: Path, own_home: Path, type_: str) -> None:
    write_llm_flow(project, type_)
    route, path = ROUTES[type_]
    with FaultEndpoint(key=KEY) as endpoint:
        url = endpoint.base_url + route
        command = [sys.executable, "-c", IN_THE_STORE, type_, url, KEY]  # promptflow fixes its HOME when it is imported
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        paths = [request.path for request in endpoint.requests]
    lines = done.stdout.splitlines()
    assert "[0, 0, 0]" in lines, done.stderr
    assert f"{CLASSES[type_]} True" in lines
    assert "connection model is up to date in promptflow's local store" in done.stdout
    assert paths == [path]
    command = [str(BIN / "pf"), "connection", "show", "--name", "model"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    connection = json.loads(shown.stdout)
    assert (connection["type"], connection["api_key"]) == (type_, "******"), shown.stderr
    assert connection.get("base_url", connection.get("api_base")).startswith(endpoint.base_url)
    assert KEY.encode() not in (own_home / ".promptflow" / "pf.sqlite").read_bytes()


@pytest.mark.parametrize("type_", EACH)
def test_pf_takes_the_file_as_it_is(project: Path, type_: str) -> None:
    phi3flow("connect", "model", "--type", type_, "--endpoint", "https://h.test", cwd=project)
    command = [str(BIN / "pf"), "connection", "create", "--file", "connections/model.yml"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["type"] == type_
