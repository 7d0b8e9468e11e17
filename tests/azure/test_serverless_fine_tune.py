"""fine-tune --backend serverless: what is uploaded and sent, what is refused, and a job left, canceled and failed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.backends.backend import FineTuneRequest
from phi3flow.backends.serverless.backend import ServerlessBackend
from phi3flow.storage.jsonl import file_sha256
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.foundry_project import Foundry, open_foundry, suffix_for
from tests.support.command_line import Done, phi3flow

MARK = b"\xef\xbb\xbf"
BACKEND = ("--backend", "serverless")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foundry]:
    with open_foundry(tmp_path_factory.mktemp("azure")) as foundry:
        yield foundry


@pytest.fixture
def foundry(shared: Foundry) -> Iterator[Foundry]:
    """The subscription; a test's jobs have a suffix of their own, so that none is another's."""
    yield shared
    shared.recover()


@pytest.fixture
def azure(foundry: Foundry) -> AzureEmulator:
    return foundry.azure


@pytest.fixture
def project(foundry: Foundry, tmp_path: Path) -> Path:
    return foundry.lend(tmp_path / "project")


@pytest.fixture
def suffix(request: pytest.FixtureRequest) -> str:
    """A suffix that no other test has."""
    return suffix_for(request.node.name)


def fine_tune(project: Path, suffix: str, *arguments: str) -> Done:
    return phi3flow("fine-tune", *BACKEND, "--suffix", suffix, "--yes", *arguments, cwd=project)


def states(project: Path) -> dict[str, str]:
    rows = json.loads(phi3flow("status", *BACKEND, "--json", cwd=project).stdout)
    return {row["job"]: row["state"] for row in rows if "job" in row}


def uploaded(foundry: Foundry, data: dict[str, Any]) -> bytes:
    """Return the content of the file that an input of a job names."""
    version = foundry.azure.assets.need_version(data["uri"])["properties"]
    content = foundry.azure.assets.read(foundry.project_id, version["dataUri"])
    assert content is not None
    return content


def test_the_job_is_sent_as_the_service_takes_it(foundry: Foundry, project: Path, suffix: str) -> None:
    rates = ("--learning-rate", "2e-5", "--batch-size", "4", "--epochs", "2")
    assert fine_tune(project, suffix, "--detach", *rates).returncode == 0
    (sent,) = (each for each in foundry.azure.writes if each.path.endswith(f"/jobs/{foundry.last_job.name}"))
    assert sent.query["api-version"] == "2024-10-01-preview"
    body = sent.json["properties"]
    details = body["fineTuningDetails"]
    assert details["hyperParameters"] == {
        "num_train_epochs": "2",
        "per_device_train_batch_size": "4",
        "learning_rate": "0.00002",
    }
    assert (body["jobType"], details["modelProvider"], details["taskType"]) == (
        "FineTuning",
        "Custom",
        "ChatCompletion",
    )
    model = "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    assert details["model"] == {"jobInputType": "mlflow_model", "uri": model}
    name = foundry.last_job.name
    assert name.startswith(f"phi-4-mini-instruct-{suffix}-")
    assert body["outputs"] == {"registered_model": {"jobOutputType": "mlflow_model", "assetName": name}}
    assert body["queueSettings"] == {"jobTier": "Standard"}
    assert body["tags"] == {
        "created-by": "phi3flow",
        "base_model": "Phi-4-mini-instruct:1",
        "recipe": "serverless",
        "train_sha256": file_sha256(project / "data" / "train.jsonl"),
        "validation_sha256": file_sha256(project / "data" / "validation.jsonl"),
    }


def test_both_files_are_uploaded_with_a_byte_order_mark_and_nothing_but_messages(
    foundry: Foundry, project: Path, suffix: str
) -> None:
    assert fine_tune(project, suffix, "--detach").returncode == 0
    details = foundry.last_job.properties["fineTuningDetails"]
    for role, name in (("trainingData", "train"), ("validationData", "validation")):
        content = uploaded(foundry, details[role])
        rows = [json.loads(line) for line in content.removeprefix(MARK).splitlines()]
        source = [json.loads(line) for line in (project / "data" / f"{name}.jsonl").read_text().splitlines()]
        assert content.startswith(MARK)
        assert rows == [{"messages": row["messages"]} for row in source]


def test_without_hyperparameters_none_is_sent(foundry: Foundry, project: Path, suffix: str) -> None:
    assert fine_tune(project, suffix, "--detach").returncode == 0
    assert foundry.last_job.properties["fineTuningDetails"]["hyperParameters"] == {}


def test_unchanged_data_is_uploaded_once_for_two_jobs(foundry: Foundry, project: Path, suffix: str) -> None:
    assert fine_tune(project, suffix, "--detach").returncode == 0
    writes = len(foundry.azure.writes)
    assert fine_tune(project, suffix, "--detach", "--epochs", "3").returncode == 0
    assert [each.path.split("/")[-2] for each in foundry.azure.writes[writes:]] == ["jobs"]


def test_a_share_of_the_chats_goes_to_the_job_as_its_validation_file(
    foundry: Foundry, project: Path, suffix: str
) -> None:
    for _ in range(2):
        done = fine_tune(project, suffix, "--validation-split", "0.2", "--detach")
        assert done.returncode == 0, done.stderr
    (folder,) = (project / ".phi3flow" / "splits").iterdir()
    tags = foundry.last_job.properties["tags"]
    for name in ("train", "validation"):
        assert tags[f"{name}_sha256"] == file_sha256(folder / f"{name}.jsonl")
    assert len([job for job in foundry.azure.jobs.all if suffix in job.name]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--epochs", "11"), "--epochs 11: the service takes 1 to 10"),
        (("--batch-size", "33"), "--batch-size 33: the service takes 1 to 32"),
        (("--learning-rate", "0"), "--learning-rate 0.0: must be above 0"),
        (("--learning-rate", "nan"), "--learning-rate nan: must be above 0"),
        (("--learning-rate-multiplier", "2"), "--learning-rate-multiplier does not go with --backend serverless"),
        (("--lr-scheduler-type", "cosine"), "--lr-scheduler-type does not go with --backend serverless"),
        (("--max-seq-length", "512"), "--max-seq-length does not go with --backend serverless"),
        (("--gpus", "2"), "--gpus does not go with --backend serverless"),
        (("--nodes", "2"), "--nodes does not go with --backend serverless"),
        (("--deepspeed-stage", "3"), "--deepspeed-stage does not go with --backend serverless"),
        (("--recipe", "script"), "--recipe does not go with --backend serverless"),
        (("--training-type", "Standard"), "--training-type is for --backend azure-openai"),
        (("--output", "tuned"), "--output is for --backend local"),
        (("--resume",), "--resume is for --backend local"),
        (("--merge",), "--merge is for --backend local"),
        (("--suffix", "v1.2"), "--suffix 'v1.2': is 1 to 18 letters, digits, '-' and '_'"),
    ],
)
def test_what_the_service_does_not_take_is_refused_by_its_flag(
    azure: AzureEmulator, project: Path, suffix: str, words: tuple[str, ...], says: str
) -> None:
    writes = len(azure.writes)
    done = fine_tune(project, suffix, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(azure.writes) == writes


def test_a_malformed_line_is_named_before_anything_is_asked(azure: AzureEmulator, project: Path, suffix: str) -> None:
    with (project / "data" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": ""}]}\n')
    asked = len(azure.requests)
    done = fine_tune(project, suffix)
    assert done.returncode == 2
    assert "train.jsonl:" in done.stderr
    assert len(azure.requests) == asked


def test_weights_that_the_service_does_not_know_are_said(foundry: Foundry, project: Path, suffix: str) -> None:
    file = project / "data" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["messages"][-1]["weight"] = 0
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = fine_tune(project, suffix, "--detach")
    assert done.returncode == 0, done.stderr
    assert "1 message of weight 0: the service does not know weights and learns them too" in done.stderr
    assert b"weight" not in uploaded(foundry, foundry.last_job.properties["fineTuningDetails"]["trainingData"])
    assert "weight" not in fine_tune(project, suffix, "--detach").stderr


def test_what_was_planned_is_sent_whatever_is_planned_meanwhile(foundry: Foundry, project: Path) -> None:
    """The question of the costs may be answered late."""
    backend = ServerlessBackend(project)
    train, validation = (project / "data" / f"{name}.jsonl" for name in ("train", "validation"))
    first = backend.plan(FineTuneRequest(train, validation, suffix="first"))
    backend.plan(FineTuneRequest(validation, validation, suffix="second"))
    backend.submit(first)
    sent = uploaded(foundry, foundry.last_job.properties["fineTuningDetails"]["trainingData"])
    assert len(sent.splitlines()) == len(train.read_bytes().splitlines())


def test_models_of_two_suffixes_are_two_however_long_their_names(foundry: Foundry, project: Path) -> None:
    for suffix in ("support-2026-11-01", "support-2026-11-02", "support-2026-11_02"):
        done = fine_tune(project, suffix, "--detach", "--model", "Phi-4-multimodal-instruct")
        assert done.returncode == 0, done.stderr
    names = {job.name for job in foundry.azure.jobs.all if job.name.startswith("phi-4-multimodal-instruct-support")}
    assert sorted(name.rpartition("-")[0] for name in names) == [
        "phi-4-multimodal-instruct-support-2026-11-01",
        "phi-4-multimodal-instruct-support-2026-11-02",
        "phi-4-multimodal-instruct-support-2026-11-02",
    ]


def test_a_job_can_be_left_alone_and_followed_again(foundry: Foundry, project: Path, suffix: str) -> None:
    told = json.loads(fine_tune(project, suffix, "--detach", "--json").stdout)
    assert told["status"] == "NotStarted"
    assert told["output"] == f"azureml://jobs/{told['job']}/outputs/registered_model"
    assert states(project)[told["job"]] in ("NotStarted", "Queued")
    done = phi3flow("fine-tune", *BACKEND, "--attach", told["job"], "--json", cwd=project)
    end = json.loads(done.stdout)
    assert (end["job"], end["status"]) == (told["job"], "Completed")
    assert end["metrics"]["train_loss"] > 0
    assert end["checkpoints"] == ["checkpoint-10"]
    training = json.loads((project / end["training"] / "training.json").read_text(encoding="utf-8"))
    assert len(training["steps"]) == 10
    assert states(project) == {told["job"]: "Completed"}


def interrupted(foundry: Foundry, project: Path, suffix: str, *, look: int) -> str:
    """Give the verb as a process, send it SIGINT at a look at its job, and return what it said."""
    process: subprocess.Popen[str] | None = None
    looks = 0

    def interrupt(request: Request) -> Reply | None:
        nonlocal looks
        is_there = any(suffix in job.name for job in foundry.azure.jobs.all)
        if request.method == "GET" and f"-{suffix}-" in request.path and is_there:
            looks += 1
            if looks == look and process:
                process.send_signal(signal.SIGINT)
        return None

    foundry.azure.fault = interrupt
    command = [sys.executable, "-m", "phi3flow.cli.main", "fine-tune", *BACKEND, "--suffix", suffix, "--yes"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    foundry.azure.fault = lambda _: None
    return said


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it(foundry: Foundry, project: Path, suffix: str) -> None:
    said = interrupted(foundry, project, suffix, look=3)
    job = foundry.last_job
    assert f"phi3flow fine-tune --backend serverless --attach {job.name}" in said
    assert job.status not in ("Canceled", "Failed")
    assert fine_tune(project, suffix).returncode == 0
    assert foundry.last_job is job
    assert job.status == "Completed"


def test_ctrl_c_while_the_job_is_submitted_leaves_it_noted(foundry: Foundry, project: Path, suffix: str) -> None:
    said = interrupted(foundry, project, suffix, look=1)
    assert "The job may go on in Azure: the same command follows it there, or submits it" in said
    assert phi3flow("cancel", *BACKEND, "--yes", cwd=project).stdout == f"{foundry.last_job.name}: Canceled\n"


def test_a_job_that_azure_refuses_is_not_noted(foundry: Foundry, project: Path, suffix: str) -> None:
    def refuse(request: Request) -> Reply | None:
        error = {"code": "UserError", "message": "No capacity is left for you."}
        return Reply(400, {"error": error}) if request.method == "PUT" and "/jobs/" in request.path else None

    foundry.azure.fault = refuse
    done = fine_tune(project, suffix)
    assert done.returncode == 3
    assert "No capacity is left for you." in done.stderr
    assert states(project) == {}


def test_a_job_is_canceled_and_the_same_command_makes_another_attempt(
    foundry: Foundry, project: Path, suffix: str
) -> None:
    assert fine_tune(project, suffix, "--detach").returncode == 0
    first = foundry.last_job
    done = phi3flow("cancel", *BACKEND, "--yes", cwd=project)
    assert done.stdout == f"{first.name}: Canceled\n", done.stderr
    assert states(project) == {first.name: "Canceled"}
    refused = phi3flow("register", first.name, *BACKEND, cwd=project)
    assert f"job {first.name} is Canceled: only a completed job has a model" in refused.stderr
    assert fine_tune(project, suffix).returncode == 0
    assert foundry.last_job.name == f"{first.name}-2"
    assert foundry.last_job.properties["outputs"]["registered_model"]["assetName"] == f"{first.name}-2"


def test_a_failed_jobs_reason_is_told_and_the_same_command_tries_again(
    foundry: Foundry, project: Path, suffix: str
) -> None:
    foundry.azure.world.job_failure = "The training data failed the safety evaluation."
    failed = fine_tune(project, suffix)
    first = foundry.last_job
    assert failed.returncode == 3
    assert f"job {first.name} failed: The training data failed the safety evaluation.; its log: " in failed.stderr
    assert states(project) == {first.name: "Failed"}
    foundry.azure.world.job_failure = None
    assert fine_tune(project, suffix).returncode == 0
    assert states(project) == {first.name: "Failed", f"{first.name}-2": "Completed"}


def test_a_model_is_registered_once_with_the_jobs_tags(foundry: Foundry, project: Path, suffix: str) -> None:
    assert fine_tune(project, suffix).returncode == 0
    name = foundry.last_job.name
    for writes in (1, 0):
        before = len(foundry.azure.writes)
        assert phi3flow("register", *BACKEND, cwd=project).stdout == f"{name}, version 1\n"
        assert len(foundry.azure.writes) - before == writes
    model = foundry.azure.resources.find(f"{foundry.project_id}/models/{name}/versions/1")
    assert model is not None
    tags = model["properties"]["tags"]
    assert {"phi3flow.job", "flow_version", "train_sha256", "base_model", "baseModelId"} <= tags.keys()
    named = phi3flow("register", *BACKEND, "--name", "other", cwd=project)
    assert named.returncode == 2
    assert "--name does not go with --backend serverless: fine-tune --suffix names the model" in named.stderr


def test_a_model_that_was_deleted_is_not_registered_again(foundry: Foundry, project: Path, suffix: str) -> None:
    assert fine_tune(project, suffix).returncode == 0
    name = foundry.last_job.name
    assert phi3flow("register", *BACKEND, cwd=project).returncode == 0
    gone = phi3flow("undeploy", *BACKEND, "--model", name, "--yes", cwd=project)
    assert gone.stdout == f"deleted the model {name}:1\n", gone.stderr
    again = phi3flow("register", *BACKEND, cwd=project)
    assert again.returncode == 2
    assert f"the model {name}:1 of job {name} was deleted" in again.stderr
    assert "with another --suffix makes it anew" in again.stderr


def test_a_job_of_another_kind_is_none_of_the_services(foundry: Foundry, project: Path, suffix: str) -> None:
    job = "/jobs/other"
    foundry.azure.fault = lambda request: Reply(200, _other_job()) if request.path.endswith(job) else None
    for words in (("fine-tune", *BACKEND, "--attach", "other"), ("register", "other", *BACKEND)):
        done = phi3flow(*words, cwd=project)
        assert done.returncode == 2, done.stderr
        assert "job other is no fine-tune as a service: it is of the type Pipeline" in done.stderr


def _other_job() -> dict[str, Any]:
    return {"name": "other", "properties": {"jobType": "Pipeline", "status": "Completed", "outputs": {}}}
