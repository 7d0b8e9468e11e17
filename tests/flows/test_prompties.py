"""Prompty files as flows: run, scored, talked to; a connection of ours, another model, a sample that is no data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi3flow.errors import ConfigError, FlowError
from phi3flow.flows import load_flow
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_lines
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply

KEY = "key-of-the-test-0123456789"
PROMPTY = """\
---
name: My prompt
model:
    api: chat
    configuration:
        {configuration}
    parameters:
        temperature: 0.2
{inputs}
---
system:
Be brief. {{{{style}}}}

{{% for item in chat_history %}}
{{{{item.role}}}}:
{{{{item.content}}}}
{{% endfor %}}

user:
{{{{question}}}}
"""
INPUTS = """\
inputs:
    question: {type: string}
    style: {type: string, default: ''}
    chat_history: {type: list, default: []}
sample: {question: SAMPLE}
"""
CONNECTED = "type: openai\n        connection: my_openai\n        model: phi"


@pytest.fixture
def endpoint() -> Iterator[FaultEndpoint]:
    """An endpoint of OpenAI's protocol."""
    with FaultEndpoint(lambda request: Reply(400) if request.question == "refuse" else None, key=KEY) as endpoint:
        yield endpoint


@pytest.fixture
def project(tmp_path: Path, endpoint: FaultEndpoint) -> Path:
    """A prompty, a connection for it, and data."""
    (tmp_path / "connections").mkdir()
    for name, key in (("my_openai", KEY), ("other", "wrong-key-0123456789")):
        text = f"name: {name}\ntype: open_ai\nbase_url: {endpoint.base_url}/v1\napi_key: {key}\n"
        (tmp_path / "connections" / f"{name}.yml").write_text(text, encoding="utf-8")
    custom = f"name: custom\ntype: custom\nconfigs: {{endpoint: '{endpoint.url}'}}\nsecrets: {{key: {KEY}}}\n"
    (tmp_path / "connections" / "custom.yml").write_text(custom, encoding="utf-8")
    write_prompty(tmp_path / "my prompt.prompty", CONNECTED)
    write_lines(tmp_path / "data.jsonl", [{"question": "hi", "ground_truth": "echo: hi"}, {"question": "refuse"}])
    return tmp_path


def write_prompty(file: Path, configuration: str, inputs: str = INPUTS) -> Path:
    """Write a prompty and return its path."""
    file.write_text(PROMPTY.format(configuration=configuration, inputs=inputs), encoding="utf-8")
    return file


def _run(project: Path, *arguments: object, name: str = "run") -> RunFolder:
    words = ["batch-run", "my prompt.prompty", "--data", "data.jsonl", "--name", name, "--max-retries", 0, *arguments]
    done = phi3flow(*words, cwd=project)
    assert done.returncode in (0, 1), done.stderr
    return RunFolder(project / ".runs" / name)


def test_a_prompty_runs_with_a_connection_of_the_project(project: Path, endpoint: FaultEndpoint) -> None:
    run = _run(project)
    answered, refused = run.results()
    assert answered.outputs == {"output": "echo: hi"}
    assert answered.usage is not None
    assert refused.status == "Failed"
    assert endpoint.requests[0].parameters["temperature"] == 0.2
    assert [message["role"] for message in endpoint.requests[0].messages] == ["system", "user"]
    assert run.manifest.flow == str(project / "my prompt.prompty")
    assert run.manifest.connections["my_openai"].host == endpoint.base_url.removeprefix("http://")
    assert KEY not in "".join(file.read_text() for file in run.path.rglob("*") if file.is_file())


def test_its_run_is_scored(project: Path) -> None:
    write_lines(project / "data.jsonl", [{"question": "hi", "ground_truth": "echo: hi"}])
    _run(project)
    flow = Path(__file__).parents[2] / "flows" / "eval" / "answer_match"
    mapping = ["--column-mapping", "answer=${run.outputs.output}"]
    done = phi3flow("score", "run", "--flow", flow, "--json", *mapping, cwd=project)
    assert json.loads(done.stdout)["metrics"]["answer_match.exact_match"]["mean"] == 1.0


def test_another_connection_and_model_take_the_places_of_its_own(project: Path, endpoint: FaultEndpoint) -> None:
    write_prompty(project / "my prompt.prompty", "type: openai\n        api_key: k\n        base_url: http://gone\n")
    run = _run(project, "--connections", "model.connection=my_openai", "model.model=tuned")
    assert run.results()[0].outputs == {"output": "echo: hi"}
    assert json.loads(endpoint.requests[0].body)["model"] == "tuned"
    assert run.manifest.parameters.connections == {"model.connection": "my_openai", "model.model": "tuned"}
    refused = _run(project, "--connections", "model.connection=other", name="other")
    assert refused.results()[0].status == "Failed"
    with pytest.raises(ConfigError, match=r"model\.connection, model\.model and model\.azure_deployment"):
        load_flow(project / "my prompt.prompty").with_connections({"chat.connection": "my_openai"})


@pytest.mark.slow
def test_a_key_of_the_environment_is_cut_out(
    project: Path, endpoint: FaultEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = (
        "type: openai\n        model: phi\n        api_key: ${env:MY_KEY}\n        base_url: ${env:MY_URL}\n"
    )
    write_prompty(project / "my prompt.prompty", configuration)
    monkeypatch.setenv("MY_URL", f"{endpoint.base_url}/v1")
    done = phi3flow("batch-run", "my prompt.prompty", "--data", "data.jsonl", cwd=project)
    assert done.returncode == 2
    assert "the environment variable MY_KEY is not set" in done.stderr
    (project / "run.yml").write_text(f"environment_variables: {{MY_KEY: {KEY}}}\n", encoding="utf-8")
    write_lines(project / "data.jsonl", [{"question": f"hi {KEY}"}])
    assert _run(project, "--run", "run.yml").results()[0].outputs == {"output": "echo: hi ***"}


def test_a_connection_of_another_kind_is_refused(project: Path) -> None:
    words = ["batch-run", "my prompt.prompty", "--data", "data.jsonl", "--connections", "model.connection=custom"]
    done = phi3flow(*words, cwd=project)
    assert done.returncode == 2
    assert "the connection custom is a CustomConnection: a prompty takes an OpenAIConnection" in done.stderr


@pytest.mark.parametrize(
    "inputs", [INPUTS, "sample:\n    question: SAMPLE\n    style: 1\n", "sample: ${file:s.json}\n"]
)
def test_a_sample_is_no_data(project: Path, endpoint: FaultEndpoint, inputs: str) -> None:
    (project / "s.json").write_text('{"question": "SAMPLE"}', encoding="utf-8")
    write_prompty(project / "my prompt.prompty", CONNECTED, inputs)
    write_lines(project / "data.jsonl", [{"prompt": "hi"}])
    done = phi3flow("batch-run", "my prompt.prompty", "--data", "data.jsonl", cwd=project)
    assert done.returncode == 2
    assert "question" in done.stderr
    write_lines(project / "data.jsonl", [{"question": "hi", "style": "s"}])
    assert _run(project).results()[0].outputs == {"output": "echo: hi"}
    assert "SAMPLE" not in str([request.body for request in endpoint.requests])


def test_a_prompty_is_talked_to_with_its_history(
    project: Path, endpoint: FaultEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    done = phi3flow("chat", "my prompt.prompty", "--connection", "my_openai", cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "echo: one\necho: two\n"
    said = [(message["role"], message["content"].strip()) for message in endpoint.requests[-1].messages[1:]]
    assert said == [("user", "one"), ("assistant", "echo: one"), ("user", "two")]


def test_the_fingerprint_is_the_files_and_what_it_refers_to(project: Path) -> None:
    (project / "s.json").write_text('{"question": "SAMPLE"}', encoding="utf-8")
    file = write_prompty(project / "my prompt.prompty", CONNECTED, "sample: ${file:s.json}\n")
    before = load_flow(file).fingerprint
    (project / "notes.txt").write_text("other", encoding="utf-8")
    assert load_flow(file).fingerprint == before
    (project / "s.json").write_text('{"question": "S"}', encoding="utf-8")
    assert load_flow(file).fingerprint != before


@pytest.mark.parametrize("text", ["no front matter", "---\nmodel: [\n---\nx", "---\nname: x\n---\nx"])
def test_what_is_no_prompty_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.prompty").write_text(text, encoding="utf-8")
    with pytest.raises(FlowError, match=r"x\.prompty: "):
        load_flow(tmp_path / "x.prompty")
