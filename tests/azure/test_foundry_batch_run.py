"""batch-run --engine foundry: a cloud run of Prompt flow in the AI Foundry project, whose lines become a run's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request, ServiceError
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.flow_steps import HOST, azure_with_connection
from tests.azure.openapi import Specifications
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines
from tests.support.paths import FLOWS

COMMAND = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--engine", "foundry", "--yes"]
SPECS = os.environ.get("AZURE_SPECS_DIR", "")


@pytest.fixture(scope="module")
def module_azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureEmulator]:
    with azure_with_connection(tmp_path_factory.mktemp("azure"), to="foundry") as azure:
        yield azure


@pytest.fixture
def azure(module_azure: AzureEmulator) -> Iterator[AzureEmulator]:
    """The subscription, with a model that answers rightly."""
    module_azure.answer_chat = lambda _, messages, parameters: f"In {messages[-1]['content'].split()[-1]}"
    module_azure.requests.clear()
    yield module_azure
    module_azure.world.job_failure = None
    module_azure.fault, module_azure.after_write = lambda _: None, lambda _: None


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the flows and 60 lines, more than the service gives at once."""
    (tmp_path / "flows").symlink_to(FLOWS)
    rows = [
        {"question": f"When was it founded, in {1900 + year}", "ground_truth": f"In {1900 + year}"}
        for year in range(60)
    ]
    write_lines(tmp_path / "lines.jsonl", rows)
    return tmp_path


def batch_run(project: Path, name: str, *flags: str) -> Done:
    return phi3flow(*COMMAND, "--name", name, *flags, cwd=project)


def results(project: Path, name: str) -> RunFolder:
    return RunFolder(project / ".runs" / name)


def submitted(azure: AzureEmulator) -> list[dict[str, Any]]:
    return [each.json for each in azure.requests if each.path.endswith("/BulkRuns/submit")]


def test_a_cloud_run_becomes_a_run_that_is_scored(azure: AzureEmulator, project: Path) -> None:
    done = batch_run(project, "cloud", "--timeout-s", "30", "--concurrency", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"total": 60, "completed": 60, "failed": 0, "retries": 0}
    run = results(project, "cloud")
    first = run.results()[0]
    assert first.inputs == {"question": "When was it founded, in 1900"}
    assert (first.outputs, first.latency_ms, first.usage) == ({"answer": "In 1900"}, 250.0, None)
    (body,) = submitted(azure)
    assert run.manifest.parameters.jobs == (body["runId"],)
    assert run.manifest.connections["phi3_endpoint"].host == HOST
    assert body["inputsMapping"]["question"] == "${data.question}"
    assert body["environmentVariables"] == {"PF_LINE_TIMEOUT_SEC": "30", "PF_WORKER_COUNT": "8"}
    assert phi3flow("score", "cloud", cwd=project).returncode == 0
    assert run.metrics("answer_match").metrics["exact_match"].mean == 1.0
    sent = next(each for each in azure.writes if each.path.endswith("/lines.jsonl") and each.body)
    assert b"ground_truth" not in sent.body


def test_a_second_time_sends_nothing_and_without_the_folder_it_finds_the_run(
    azure: AzureEmulator, project: Path
) -> None:
    batch_run(project, "again")
    before = results(project, "again").results()
    azure.requests.clear()
    assert batch_run(project, "again").returncode == 0
    assert azure.requests == []
    (project / ".runs").rename(project / "elsewhere")
    done = batch_run(project, "again")
    assert done.returncode == 0, done.stderr
    assert azure.writes == []
    assert results(project, "again").results() == before


def test_a_line_that_fails_says_why_and_is_sent_again(azure: AzureEmulator, project: Path) -> None:
    def answer(_: object, messages: list[dict[str, str]], parameters: object) -> str:
        if messages[-1]["content"].endswith("1930"):
            raise TimeoutError("the endpoint gave no answer in 180 s")
        return "In 1900"

    azure.answer_chat = answer
    done = batch_run(project, "failed")
    assert done.returncode == 1, done.stderr
    (failed,) = [each for each in results(project, "failed").results() if each.status == "Failed"]
    assert (failed.line_number, failed.outputs) == (30, None)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("TimeoutError", "the endpoint gave no answer in 180 s")
    azure.answer_chat = lambda *_: "In 1930"
    assert batch_run(project, "failed").returncode == 0
    run = results(project, "failed")
    assert run.results()[30].outputs == {"answer": "In 1930"}
    assert run.results()[29].outputs == {"answer": "In 1900"}, "the other lines were not sent again"
    assert run.manifest.parameters.jobs is not None
    assert len(run.manifest.parameters.jobs) == len(submitted(azure)) == 2


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_the_same_command_tries_again(azure: AzureEmulator, project: Path) -> None:
    azure.world.job_failure = "The session could not be started."
    done = batch_run(project, "broken")
    assert done.returncode == 3
    assert "The session could not be started." in done.stderr
    assert "https://ai.azure.com/" in done.stderr
    azure.world.job_failure = None
    assert batch_run(project, "broken").returncode == 0
    first, second = (body["runId"] for body in submitted(azure))
    assert second == f"{first}-2"


@pytest.mark.slow
def test_a_command_that_is_killed_after_it_submitted_follows_the_run_when_given_again(
    azure: AzureEmulator, project: Path
) -> None:
    command = [sys.executable, "-m", "phi3flow.cli.main", *COMMAND, "--name", "killed"]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)

    def kill(request: Request) -> None:
        if request.path.endswith("/BulkRuns/submit"):
            process.kill()

    azure.after_write = kill
    said = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, said
    azure.after_write = lambda _: None
    azure.requests.clear()
    done = batch_run(project, "killed")
    assert done.returncode == 0, done.stderr
    assert azure.writes == []
    assert results(project, "killed").manifest.counts.completed == 60


@pytest.mark.slow
def test_an_answer_that_is_lost_does_not_matter(azure: AzureEmulator, project: Path) -> None:
    """The client sends the request again, and is told that there is such a run already."""

    def lose(request: Request) -> None:
        if request.path.endswith("/BulkRuns/submit"):
            azure.after_write = lambda _: None
            raise ConnectionReset

    azure.after_write = lose
    done = batch_run(project, "lost")
    assert done.returncode == 0, done.stderr
    assert len(submitted(azure)) >= 2
    assert results(project, "lost").manifest.counts.completed == 60


def test_what_the_service_says_is_shown(azure: AzureEmulator, project: Path) -> None:
    def refuse(request: Request) -> Any:
        if request.path.endswith("/BulkRuns/submit"):
            return ServiceError(403, "Forbidden", "The role AzureML Data Scientist is needed.").reply
        return None

    azure.fault = refuse
    done = batch_run(project, "forbidden")
    assert done.returncode == 3
    assert "The role AzureML Data Scientist is needed." in done.stderr


def test_a_connection_that_the_project_lacks_is_named_before_anything_is_sent(
    azure: AzureEmulator, project: Path
) -> None:
    done = batch_run(project, "lacking", "--connections", "chat.connection=phi3_other")
    assert done.returncode == 2
    assert "the AI Foundry project phi3flow-project has no connection phi3_other" in done.stderr
    assert "phi3flow connect phi3_other --from-deployment --to foundry" in done.stderr
    assert azure.writes == []


def test_without_a_yes_nothing_is_submitted(azure: AzureEmulator, project: Path) -> None:
    done = phi3flow(*COMMAND[:-1], "--name", "unasked", cwd=project)
    assert done.returncode == 1
    assert "Run unasked on a compute session of phi3flow-project" in done.stderr
    assert azure.writes == []


@pytest.mark.parametrize("flags", [["--workers", "2"], ["--max-failures", "5"], ["--max-retries", "1"], ["--cache"]])
def test_flags_that_the_service_cannot_follow_are_refused(
    azure: AzureEmulator, project: Path, flags: list[str]
) -> None:
    done = batch_run(project, "refused", *flags)
    assert done.returncode == 2
    assert f"{flags[0]} does not go with --engine foundry" in done.stderr
    assert azure.requests == []


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
def test_what_is_sent_is_what_the_specification_allows(azure: AzureEmulator, project: Path) -> None:
    batch_run(project, "specified")
    specifications = Specifications(Path(SPECS))
    checked = [found for each in azure.requests if (found := specifications.check(each))]
    assert {"BulkRuns_SubmitBulkRun", "BulkRuns_GetFlowChildRuns"} <= {each.operation for each in checked}
    assert [each for each in checked if each.problems] == []
