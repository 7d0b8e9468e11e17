"""batch-run --engine azureml: a flow as a job of the workspace, whose answers become a run like any other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request, ServiceError
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.flow_steps import HOST, KEY, FlowStep, azure_with_connection
from tests.azure.openapi import Specifications
from tests.azure.snapshots import snapshot
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines
from tests.support.paths import FLOWS, ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint

ROWS: list[dict[str, Any]] = [
    {"question": f"Who founded company {number}?", "ground_truth": f"echo: Who founded company {number}?"}
    for number in range(6)
]
ROWS[4]["chat_history"] = [{"inputs": {"question": "Hello"}, "outputs": {"answer": "Hello!"}}]
COMMAND = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--engine", "azureml", "--yes"]
SPECS = os.environ.get("AZURE_SPECS_DIR", "")


@pytest.fixture(scope="module")
def module_azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureEmulator]:
    with azure_with_connection(tmp_path_factory.mktemp("azure"), to="azureml") as azure:
        yield azure


@pytest.fixture
def azure(module_azure: AzureEmulator) -> Iterator[AzureEmulator]:
    """The subscription, with flows that repeat the question, and no job of an earlier test in sight."""
    module_azure.jobs.make_output = FlowStep(module_azure, answer)
    module_azure.requests.clear()
    yield module_azure
    module_azure.world.job_failure = None
    module_azure.fault, module_azure.after_write = lambda _: None, lambda _: None


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the flows and six lines."""
    (tmp_path / "flows").symlink_to(FLOWS)
    write_lines(tmp_path / "lines.jsonl", ROWS)
    return tmp_path


def answer(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"answer": f"echo: {inputs['question']}"}


def batch_run(project: Path, name: str, *flags: str) -> Done:
    return phi3flow(*COMMAND, "--name", name, *flags, cwd=project)


def results(project: Path, name: str) -> RunFolder:
    return RunFolder(project / ".runs" / name)


def jobs(azure: AzureEmulator, name: str) -> list[Any]:
    return [job for job in azure.jobs.all if job.name.startswith(f"{name}-")]


def step(azure: AzureEmulator, name: str) -> dict[str, Any]:
    """Return the only step of the last job of a run."""
    (body,) = jobs(azure, name)[-1].properties["jobs"].values()
    return dict(body)


def test_a_job_becomes_a_run_that_equals_a_local_one(
    azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = batch_run(project, "cloud", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"total": 6, "completed": 6, "failed": 0, "retries": 0}
    monkeypatch.setenv("PHI3_KEY", KEY)
    (project / "connections").symlink_to(ROOT / "connections")
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        local = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--name", "local"]
        assert phi3flow(*local, cwd=project).returncode == 0
    same = {"line_number", "line_id", "status", "inputs", "outputs", "error"}
    here, there = ([each.model_dump(include=same) for each in results(project, name).results()] for name in
                   ("local", "cloud"))  # fmt: skip
    assert there == here
    for name in ("cloud", "local"):
        assert phi3flow("score", name, cwd=project).returncode == 0
    scores = [results(project, name).metrics("answer_match").metrics for name in ("cloud", "local")]
    assert scores[0] == scores[1]
    assert scores[0]["exact_match"].mean == 1.0
    compared = json.loads(phi3flow("compare", "local", "cloud", "--json", cwd=project).stdout)
    assert compared["n_paired"] == 6
    assert compared["metrics"]["answer_match.f1"]["difference"]["mean"] == 0.0
    assert phi3flow("report", "local", "cloud", "--output", "report.html", cwd=project).returncode == 0
    assert phi3flow("gate", "cloud", "--rule", "answer_match.f1 >= 0.5", cwd=project).returncode == 0


def test_the_manifest_says_where_it_ran_and_nothing_that_is_not_known(azure: AzureEmulator, project: Path) -> None:
    batch_run(project, "manifest")
    run = results(project, "manifest")
    manifest = run.manifest
    assert manifest.status == "Completed"
    assert manifest.parameters.engine == "azureml"
    assert manifest.parameters.jobs == (jobs(azure, "manifest")[0].name,)
    assert manifest.connections["phi3_endpoint"].host == HOST
    assert set(manifest.versions) == {"phi3flow"}
    assert {(each.latency_ms, each.usage, each.attempts) for each in run.results()} == {(None, None, 1)}
    assert (run.path / "flow_artifacts").is_dir()


def test_the_job_is_the_flow_over_its_inputs_and_nothing_more(azure: AzureEmulator, project: Path) -> None:
    """The ground truth stays here; variant and connections stand in the flow; no file is sent that git ignores."""
    flags = ["--variant", "few_shot", "--concurrency", "6", "--timeout-s", "20", "--max-failures", "50"]
    shutil.copytree(ROOT / "flows/chat_phi3", project / "mine")
    (project / "mine/.env").write_text(f"PHI3_KEY={KEY}\n", encoding="utf-8")
    done = phi3flow("batch-run", "mine", *COMMAND[2:], "--name", "body", *flags, cwd=project)
    assert done.returncode == 0, done.stderr
    assert not [each for each in azure.writes if each.path.endswith("/.env") or KEY.encode() in each.body]
    body = step(azure, "body")
    assert body["computeId"].endswith("/computes/gpu-cluster")
    assert (body["resources"], body["max_concurrency_per_instance"]) == ({"instance_count": 1}, 6)
    assert (body["mini_batch_size"], body["error_threshold"], body["mini_batch_error_threshold"]) == (1, 3, 3)
    assert body["retry_settings"] == {"max_retries": 2, "timeout": 20}
    assert jobs(azure, "body")[0].properties["settings"]["force_rerun"] is True
    inputs = {name: each["value"] for name, each in body["inputs"].items() if name != "data"}
    assert inputs == {
        name: f"${{data.{name}}}" for name in ("chat_history", "question", "temperature", "max_new_tokens")
    }
    sent = [json.loads(line) for line in azure.jobs.read_input(jobs(azure, "body")[0].children[0], "data").splitlines()]
    assert sent[0] == {
        "chat_history": [],
        "question": "Who founded company 0?",
        "temperature": 0.7,
        "max_new_tokens": 128,
    }
    assert sent[4]["chat_history"] == ROWS[4]["chat_history"]
    dag = next(each.body.decode() for each in azure.writes if each.path.endswith("/flow.dag.yaml"))
    assert "system_prompt__few_shot.jinja2" in dag
    assert "node_variants" not in dag
    assert not (project / ".phi3flow/upload/mine").exists()


def test_a_second_time_sends_nothing_and_without_the_folder_it_finds_the_job(
    azure: AzureEmulator, project: Path
) -> None:
    batch_run(project, "again")
    before, there = results(project, "again").results(), snapshot(azure)
    azure.requests.clear()
    assert batch_run(project, "again").returncode == 0
    assert azure.requests == []
    for file in sorted((project / ".runs").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    done = batch_run(project, "again")
    assert done.returncode == 0, done.stderr
    assert azure.writes == []
    assert results(project, "again").results() == before
    assert snapshot(azure) == there
    assert len(jobs(azure, "again")) == 1


@pytest.mark.slow
def test_fresh_submits_again(azure: AzureEmulator, project: Path) -> None:
    for flags in ([], ["--fresh"], ["--fresh"], []):
        assert batch_run(project, "fresh", *flags).returncode == 0
    first, second, third = (job.name for job in jobs(azure, "fresh"))
    assert (second, third) == (f"{first}-2", f"{first}-3")


@pytest.mark.slow
def test_lines_without_an_answer_failed_and_are_sent_again_each_alone(azure: AzureEmulator, project: Path) -> None:
    refused = {"Who founded company 2?"}

    def picky(inputs: dict[str, Any]) -> dict[str, Any]:
        if inputs["question"] in refused:
            raise ValueError("the endpoint answered 400")
        return answer(inputs)

    azure.jobs.make_output = FlowStep(azure, picky)
    write_lines(project / "lines.jsonl", [{"question": f"Who founded company {number}?"} for number in range(200)])
    done = batch_run(project, "failed", "--json")
    assert done.returncode == 1, done.stderr
    job = jobs(azure, "failed")[0].name
    lost = [each for each in results(project, "failed").results() if each.status == "Failed"]
    assert step(azure, "failed")["mini_batch_size"] == 3
    assert [each.line_number for each in lost] == [0, 1, 2], "its mini-batch went with it"
    assert lost[0].error is not None
    assert lost[0].error.type == "LineMissing"
    assert f"the azureml job {job} gave no answer to this line" in lost[0].error.message
    assert batch_run(project, "failed").returncode == 1
    assert step(azure, "failed")["mini_batch_size"] == 1
    failed = [each.line_number for each in results(project, "failed").results() if each.status == "Failed"]
    assert failed == [2]
    unasked = phi3flow(*COMMAND[:-1], "--name", "failed", cwd=project)
    assert (unasked.returncode, results(project, "failed").manifest.status) == (1, "Completed")
    refused.clear()
    for code in (0, 0):
        assert batch_run(project, "failed").returncode == code
    assert len(jobs(azure, "failed")) == 3
    assert all(each.outputs == answer(each.inputs) for each in results(project, "failed").results())


def test_a_job_that_fails_says_why_and_the_same_command_tries_again(azure: AzureEmulator, project: Path) -> None:
    azure.world.job_failure = "There is no succeeded mini batch item returned from run()."
    done = batch_run(project, "broken")
    assert done.returncode == 3
    assert "There is no succeeded mini batch item" in done.stderr
    assert results(project, "broken").manifest.status == "Failed"
    azure.world.job_failure = None
    assert batch_run(project, "broken").returncode == 0
    first, second = jobs(azure, "broken")
    assert second.name == f"{first.name}-2"
    assert results(project, "broken").manifest.counts.completed == 6


def start(project: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "phi3flow.cli.main", *COMMAND, "--name", name]
    return subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_command_that_is_killed_after_it_submitted_follows_the_job_when_given_again(
    azure: AzureEmulator, project: Path
) -> None:
    process = start(project, "killed")

    def kill(request: Request) -> None:
        if request.method == "PUT" and "/jobs/killed-" in request.path:
            process.kill()

    azure.after_write = kill
    said = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, said
    azure.after_write = lambda _: None
    azure.requests.clear()
    done = batch_run(project, "killed")
    assert done.returncode == 0, done.stderr
    assert azure.writes == []
    assert len(jobs(azure, "killed")) == 1
    assert results(project, "killed").manifest.connections["phi3_endpoint"].host


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_running_and_says_so(azure: AzureEmulator, project: Path) -> None:
    process = start(project, "stopped")
    followed = threading.Event()

    def interrupt(request: Request) -> None:
        if request.path.endswith("/runs/get") and not followed.is_set():  # the job's metrics are asked for as it runs
            followed.set()
            process.send_signal(signal.SIGINT)

    azure.fault = interrupt  # type: ignore[assignment]
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "The jobs go on in Azure; the same command follows them again." in said
    assert results(project, "stopped").manifest.status == "Running"
    assert batch_run(project, "stopped").returncode == 0
    assert len(jobs(azure, "stopped")) == 1


@pytest.mark.slow
def test_every_write_may_fail_once(azure: AzureEmulator, project: Path) -> None:
    write_lines(project / "lines.jsonl", [{"question": "Who breaks connections?"}])
    failed: set[str] = set()

    def fail(request: Request) -> Any:
        place = f"{request.method} {request.path.rpartition('/')[2]}"
        if not request.is_write or "oauth2" in request.path or place in failed:
            return None
        failed.add(place)
        if len(failed) % 2:
            raise ConnectionReset
        return ServiceError(503, "ServiceUnavailable", "Try again later.").reply

    azure.fault = fail
    shutil.copytree(ROOT / "flows/chat_phi3", project / "theirs")
    done = phi3flow("batch-run", "theirs", *COMMAND[2:], "--name", "shaken", cwd=project)
    assert done.returncode == 0, done.stderr
    assert len(failed) > 10
    assert len(jobs(azure, "shaken")) == 1


def test_without_a_yes_nothing_is_submitted(azure: AzureEmulator, project: Path) -> None:
    done = phi3flow(*COMMAND[:-1], "--name", "unasked", cwd=project)
    assert done.returncode == 1
    assert (
        "Run unasked on gpu-cluster: 1 x Standard_NC24ads_A100_v4, 3.67 dollars an hour (88.15 a day)?" in done.stderr
    )
    assert azure.writes == []


@pytest.mark.slow
def test_variants_run_at_the_same_time_and_are_compared(azure: AzureEmulator, project: Path) -> None:
    flags = ["--variant", "concise", "--variant", "few_shot", "--limit", "2", "--repeats", "2", "--json"]
    done = phi3flow(*COMMAND, *flags, cwd=project)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [run["counts"]["completed"] for run in said["runs"]] == [4, 4]
    assert said["comparisons"][0]["n_paired"] == 2
    first = next(index for index, each in enumerate(azure.requests) if "/runs/" in each.path)
    submitted = [each for each in azure.requests[:first] if each.method == "PUT" and "/jobs/" in each.path]
    assert len(submitted) == 2, "both are submitted before one is followed"


def test_rows_of_newer_images_are_understood(azure: AzureEmulator, project: Path) -> None:
    azure.jobs.make_output = FlowStep(azure, answer, nested=True)
    assert batch_run(project, "nested").returncode == 0
    assert results(project, "nested").results()[0].outputs == {"answer": "echo: Who founded company 0?"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("twice", lambda rows: [*rows, rows[0]], "answered line 5 twice"),
        ("unknown", lambda rows: [*rows, {"answer": "?", "line_number": 6}], "answered line 6, but 6 lines were sent"),
        ("unnumbered", lambda rows: [{"answer": "?"}], "hold a row without a line_number"),
    ],
)
def test_answers_to_other_lines_are_refused(
    azure: AzureEmulator, project: Path, name: str, change: Any, message: str
) -> None:
    azure.jobs.make_output = FlowStep(azure, answer, change=change)
    done = batch_run(project, name)
    assert done.returncode == 3
    assert message in done.stderr
    assert results(project, name).manifest.counts.completed == 0


def test_a_connection_that_the_workspace_lacks_is_named_before_anything_is_sent(
    azure: AzureEmulator, project: Path
) -> None:
    done = batch_run(project, "lacking", "--connections", "chat.connection=phi3_other")
    assert done.returncode == 2
    assert "has no connection phi3_other" in done.stderr
    assert "phi3flow connect phi3_other --from-deployment --to azureml" in done.stderr
    assert azure.writes == []
    assert results(project, "lacking").manifest.status == "Failed"


def test_a_setting_names_another_cluster(azure: AzureEmulator, project: Path) -> None:
    (project / "phi3flow.toml").write_text('[azure]\nbatch_compute = "cpu-cluster"\n', encoding="utf-8")
    done = batch_run(project, "elsewhere")
    assert done.returncode == 3
    assert "compute cluster cpu-cluster: it does not exist. Set batch_compute in phi3flow.toml" in done.stderr
    assert azure.writes == []


def test_more_nodes_than_the_cluster_has_are_refused(azure: AzureEmulator, project: Path) -> None:
    done = batch_run(project, "large", "--workers", "2")
    assert done.returncode == 3
    assert "the compute cluster gpu-cluster has at most 1 nodes" in done.stderr
    assert azure.writes == []


@pytest.mark.parametrize(
    "flags",
    [["--rpm", "60"], ["--tpm", "60"], ["--fail-fast", "1"], ["--cache"], ["--history", "own"], ["--price-in", "1"]],
    ids=lambda flags: flags[0],
)
def test_flags_that_the_service_cannot_follow_are_refused(
    azure: AzureEmulator, project: Path, flags: list[str]
) -> None:
    done = batch_run(project, "refused", *flags)
    assert done.returncode == 2
    assert f"{flags[0]} does not go with --engine azureml" in done.stderr
    assert azure.requests == []


def test_no_secret_is_written_or_said(azure: AzureEmulator, project: Path) -> None:
    done = batch_run(project, "secret", "--debug")
    files = [path.read_bytes() for path in project.rglob("*") if path.is_file() and "flows" not in path.parts]
    assert files
    for secret in (KEY, azure.environment["AZURE_CLIENT_SECRET"], "eyJ", "sig="):
        assert secret not in done.stdout + done.stderr
        assert not [content for content in files if secret.encode() in content]


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
def test_what_is_sent_is_what_the_specification_allows(azure: AzureEmulator, project: Path) -> None:
    batch_run(project, "specified")
    specifications = Specifications(Path(SPECS))
    checked = [found for each in azure.writes if (found := specifications.check(each))]
    assert checked
    assert [each for each in checked if each.problems] == []
