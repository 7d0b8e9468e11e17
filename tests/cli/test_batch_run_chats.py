"""batch-run over chats as a fine-tune takes them: each answer is a line, which is scored like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import write_rows
from tests.support.chats import chat
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_flow
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint

KEY = "key-of-the-test-0123456789"
CHATS = [
    chat("Who founded Velmora?", "echo: Who founded Velmora?", "And when?", "In 1975.", system="Be brief."),
    chat("Where is it?", "In Rome.", kind="place"),
]
BATCH_RUN = ("batch-run", "flows/chat_phi3", "--data", "validation.jsonl", "--name", "r")
COUNT = """from promptflow.core import tool


@tool
def echo(messages: list) -> str:
    return str(len(messages))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with links to the project's flows and connections, and a file of chats."""
    for name in ("flows", "connections"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_rows(tmp_path / "validation.jsonl", CHATS)
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


def test_every_answer_of_a_chat_is_a_line_with_what_was_said_before(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        done = phi3flow(*BATCH_RUN, cwd=project)
        asked = {
            request.question: [message["content"] for message in request.messages] for request in endpoint.requests
        }
    assert done.returncode == 0, done.stderr
    (folder,) = (project / ".phi3flow" / "lines").iterdir()
    lines = folder.relative_to(project) / "validation_lines.jsonl"
    assert f"validation.jsonl: 2 conversations, whose answers are 3 lines: {lines}\n" in done.stderr
    assert asked.keys() == {"Who founded Velmora?", "And when?", "Where is it?"}
    assert asked["And when?"][-3:] == ["Who founded Velmora?", "echo: Who founded Velmora?", "And when?"]
    scored = phi3flow("score", "r", "--json", cwd=project)
    assert scored.returncode == 0, scored.stderr
    metrics = json.loads(scored.stdout)["metrics"]
    assert metrics["answer_match.exact_match"]["mean"] == pytest.approx(1 / 3)
    assert metrics["answer_match.f1"]["n"] == 3
    run = RunFolder(project / ".runs" / "r")
    assert [row["ground_truth"] for row in run.data_rows()] == ["echo: Who founded Velmora?", "In 1975.", "In Rome."]
    assert run.data_rows()[2]["kind"] == "place"


def test_the_same_command_finds_its_run_again_also_where_the_lines_were_deleted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert phi3flow(*BATCH_RUN, cwd=project).returncode == 0
        for file in (project / ".phi3flow" / "lines").rglob("*.jsonl"):
            file.unlink()
        assert phi3flow(*BATCH_RUN, cwd=project).returncode == 0
        assert len(endpoint.requests) == 3
        write_rows(project / "validation.jsonl", CHATS[:1])
        changed = phi3flow(*BATCH_RUN, cwd=project)
    assert changed.returncode == 2
    assert "data" in changed.stderr


def test_the_split_of_a_fine_tune_can_be_run_as_it_is(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phi3flow.datasets.validation_split import split_validation

    write_rows(project / "train.jsonl", (chat(f"question {number}", "a") for number in range(10)))
    split = split_validation(project / "train.jsonl", share=0.3, seed=0, folder=project / ".phi3flow" / "splits")
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        done = phi3flow("batch-run", "flows/chat_phi3", "--data", split.validation, "--json", cwd=project)
    assert json.loads(done.stdout)["counts"]["completed"] == 3


@pytest.mark.parametrize(
    ("name", "mapping"), [("messages", ()), ("chat", ("--column-mapping", "chat=${data.messages}"))]
)
def test_a_flow_that_takes_messages_is_given_chats_as_they_are(
    project: Path, name: str, mapping: tuple[str, ...]
) -> None:
    definition = write_flow(project / "count", COUNT.replace("messages", name)) / "flow.dag.yaml"
    text = definition.read_text(encoding="utf-8").replace("question", name).replace("type: string", "type: list", 1)
    definition.write_text(text, encoding="utf-8")
    done = phi3flow("batch-run", "count", "--data", "validation.jsonl", *mapping, "--name", "c", cwd=project)
    assert done.returncode == 0, done.stderr
    answers = [result.outputs for result in RunFolder(project / ".runs" / "c").results()]
    assert [[*(answer or {}).values()] for answer in answers] == [["5"], ["2"]]
    assert not (project / ".phi3flow" / "lines").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([CHATS[0], {"messages": [{"role": "user", "content": "Hi"}]}], "validation.jsonl:2: the last message must be"),
        ([CHATS[0], {"question": "Hi"}], "validation.jsonl:2: messages must be a list of messages: missing"),
        (
            [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a", "weight": 0}]}],
            "weight 0",
        ),
    ],
)
def test_what_is_no_chat_among_chats_is_refused_with_its_place(
    project: Path, rows: list[dict[str, Any]], message: str
) -> None:
    write_rows(project / "validation.jsonl", rows)
    done = phi3flow(*BATCH_RUN, cwd=project)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (project / ".runs").exists()


def test_a_row_with_a_question_of_its_own_is_a_line_whatever_its_messages(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(project / "validation.jsonl", [{"question": "Hi?", **CHATS[0]}])
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        assert phi3flow(*BATCH_RUN, cwd=project).returncode == 0
        assert [request.question for request in endpoint.requests] == ["Hi?"]
