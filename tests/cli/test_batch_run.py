"""batch-run and runs as they are typed, over the project's own flows and a real endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply

KEY = "key-of-the-test-0123456789"
ROWS = [
    {"question": "Who founded Velmora?", "ground_truth": "echo: Who founded Velmora?"},
    {"question": "Where is it?", "ground_truth": "In Rome.", "conversation_id": "c1"},
    {"question": "And when?", "ground_truth": "Long ago.", "conversation_id": "c1"},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with links to the project's flows and connections, and three lines."""
    for name in ("flows", "connections"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_lines(tmp_path / "lines.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_variants_are_run_scored_and_compared_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        variants = ["--variant", "concise", "--variant", "few_shot"]
        command = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", *variants, "--limit", "2", "--json"]
        assert main(command) == 0
        shapes = sorted((request.question, len(request.messages) > 2) for request in endpoint.requests)
    questions = [row["question"] for row in ROWS[:2]]
    assert shapes == sorted((question, few_shot) for question in questions for few_shot in (False, True))
    output = _json(capsys)
    assert [run["variant"] for run in output["runs"]] == ["${system_prompt.concise}", "${system_prompt.few_shot}"]
    assert output["comparisons"][0]["n_paired"] == 2
    assert main(["compare", "@previous", "@latest", "--json"]) == 0
    again = _json(capsys)
    assert again["baseline"] == output["runs"][0]["name"]
    assert again["metrics"] == output["comparisons"][0]["metrics"]


def test_a_failed_line_gives_exit_code_1_and_its_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultEndpoint(lambda request: Reply(401) if request.question == "And when?" else None) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert main(["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--name", "r"]) == 1
        assert len(endpoint.requests) == 3
    output = capsys.readouterr().out
    assert "r: Completed, 2 of 3 lines completed, 1 failed" in output
    assert "first failure: line 2: EndpointError: " in output
    assert KEY not in output


def test_run_yml_gives_mapping_data_and_variant(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(project / "other.jsonl", [{"prompt": "p"}])
    (project / "run.yml").write_text(
        "data: other.jsonl\nvariant: ${system_prompt.few_shot}\ncolumn_mapping:\n  question: ${data.prompt}\n"
        "  temperature: 0\n",
        encoding="utf-8",
    )
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert main(["batch-run", "flows/chat_phi3", "--run", "run.yml", "--json"]) == 0
        assert endpoint.requests[0].parameters["temperature"] == 0
        assert endpoint.requests[0].question == "p"
    assert _json(capsys)["variant"] == "${system_prompt.few_shot}"


def test_another_connection_makes_another_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "connections").unlink()
    (project / "connections").mkdir()
    with FaultEndpoint() as first, FaultEndpoint() as second:
        for name, endpoint in (("phi3_endpoint", first), ("tuned", second)):
            (project / "connections" / f"{name}.yml").write_text(
                f"name: {name}\ntype: custom\nconfigs:\n  endpoint: {endpoint.url}\n"
                "secrets:\n  key: ${env:PHI3_KEY}\n"
            )
        names = []
        for flags in ([], ["--connections", "chat.connection=tuned"]):
            assert main(["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--json", *flags]) == 0
            names.append(_json(capsys)["name"])
        assert (len(first.requests), len(second.requests)) == (3, 3)
    assert names[0] != names[1]
    assert "tuned" in names[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--connections", "chat.connection=nope"], "there is no connection 'nope'"),
        (["--connections", "chit.connection=x"], "the flow chat_phi3 has the nodes system_prompt, chat"),
        (["--connections", "chat.key=x"], "node chat has no input 'key'"),
        (["--variant", "verbose"], "there is none of that name; the variants are"),
        (["--column-mapping", "question=${data.query}"], "refers to ${data.query}; the columns are"),
        (["--column-mapping", "quest"], "--column-mapping: 'quest' is not key=value"),
        (["--data", "gone.jsonl"], "gone.jsonl"),
        (["--run", "gone.yml"], "gone.yml: cannot be read"),
        (["--name", "a/b"], "run name 'a/b'"),
        (["--variant", "concise", "--variant", "few_shot", "--name", "x"], "--name names one run"),
        (["--concurrency", "0"], "'0' is not a whole number of at least 1"),
    ],
)
def test_wrong_usage_is_one_paragraph_and_exit_code_2(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    with FaultEndpoint() as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert main(["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", *flags]) == 2
        assert endpoint.requests == []
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_missing_key_names_file_key_and_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHI3_ENDPOINT", "http://127.0.0.1:9/score")
    monkeypatch.delenv("PHI3_KEY")
    assert main(["batch-run", "flows/chat_phi3", "--data", "lines.jsonl"]) == 2
    error = capsys.readouterr().err
    assert "phi3_endpoint.yml: secrets.key" in error
    assert "PHI3_KEY" in error


def test_runs_are_listed_shown_and_deleted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = write_flow(project / "echo", ECHO)
    for name in ("one", "two"):
        assert main(["batch-run", str(flow), "--data", "lines.jsonl", "--name", name]) == 0
    capsys.readouterr()
    assert main(["runs", "list", "--json"]) == 0
    assert [run["name"] for run in _json(capsys)] == ["one", "two"]
    assert main(["runs", "show", "@latest", "--json"]) == 0
    assert _json(capsys)["counts"] == {"total": 3, "completed": 3, "failed": 0, "retries": 0}
    assert main(["runs", "delete", "one"]) == 1
    assert "answer with --yes" in capsys.readouterr().err
    assert main(["runs", "delete", "one", "--yes"]) == 0
    assert [path.name for path in (project / ".runs").iterdir()] == ["two"]
    assert main(["runs", "show", "one"]) == 2


def test_publish_says_that_it_does_not_exist_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "flows/chat_phi3", "--to", "foundry"]) == 2
    assert "publish --to foundry does not exist yet" in capsys.readouterr().err
