"""fine-tune --backend azureml: what the job is given, following it, leaving it, and what comes after a failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi3flow.storage.jsonl import file_sha256
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.emulator.registry_content import registries
from tests.azure.journey import make_project, take_all
from tests.support.command_line import Done, phi3flow

COMMAND = ("fine-tune", "--backend", "azureml", "--yes")


@pytest.fixture
def ready(azure: AzureEmulator, project: Path) -> AzureEmulator:
    """A subscription with a workspace, and a project with data."""
    make_project(project)
    take_all(azure, project, ["azure up", "prepare-data"])
    return azure


def fine_tune(project: Path, *arguments: str) -> Done:
    return phi3flow(*COMMAND, *arguments, cwd=project)


def inputs_of(azure: AzureEmulator, number: int = 0) -> dict[str, Any]:
    """Return the literal inputs of a job's only node."""
    (node,) = azure.jobs.all[number].properties["jobs"].values()
    return {name: each["value"] for name, each in node["inputs"].items() if "value" in each}


def states(project: Path) -> dict[str, str]:
    rows = json.loads(phi3flow("status", "--json", cwd=project).stdout)
    return {row["job"]: row["state"] for row in rows if "job" in row}


def test_a_job_can_be_left_alone_and_followed_again(ready: AzureEmulator, project: Path) -> None:
    left = fine_tune(project, "--detach", "--json")
    assert left.returncode == 0, left.stderr
    told = json.loads(left.stdout)
    assert told["status"] == "NotStarted"
    assert told["output"] == f"azureml://jobs/{told['job']}/outputs/trained_model"
    assert states(project)[told["job"]] in ("NotStarted", "Preparing")
    done = phi3flow("fine-tune", "--backend", "azureml", "--attach", told["job"], "--json", cwd=project)
    end = json.loads(done.stdout)
    assert (end["job"], end["status"]) == (told["job"], "Completed")
    assert end["metrics"]["train_loss"] > 0
    assert states(project) == {told["job"]: "Completed"}


@pytest.mark.slow
def test_a_share_of_the_chats_goes_to_the_job_as_its_validation_file(ready: AzureEmulator, project: Path) -> None:
    assert fine_tune(project, "--validation-split", "0.2", "--detach").returncode == 0
    (folder,) = (project / ".phi3flow" / "splits").iterdir()
    tags = ready.jobs.all[0].properties["tags"]
    for name in ("train", "validation"):
        assert tags[f"{name}_sha256"] == file_sha256(folder / f"{name}.jsonl")
    assert fine_tune(project, "--validation-split", "0.2", "--detach").returncode == 0
    assert len(ready.jobs.all) == 1


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it(ready: AzureEmulator, project: Path) -> None:
    looks: list[subprocess.Popen[str]] = []

    def interrupt(request: Request) -> Reply | None:
        if request.method == "GET" and "/jobs/Phi-4" in request.path and ready.jobs.all and looks:
            os.kill(looks.pop().pid, signal.SIGINT)
        return None

    command = [sys.executable, "-m", "phi3flow.cli.main", *COMMAND]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    looks.append(process)
    ready.fault = interrupt
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    (job,) = ready.jobs.all
    assert f"phi3flow fine-tune --backend azureml --attach {job.name}" in said
    assert job.status not in ("Canceled", "Failed")
    ready.fault = lambda _: None
    assert fine_tune(project).returncode == 0
    assert [each.name for each in ready.jobs.all] == [job.name]
    assert job.status == "Completed"


@pytest.mark.slow
def test_a_connection_that_breaks_does_not_end_the_following(ready: AzureEmulator, project: Path) -> None:
    broken: list[str] = []

    def fault(request: Request) -> Reply | None:
        if request.method == "GET" and "/jobs/Phi-4" in request.path and ready.jobs.all and len(broken) < 3:
            broken.append(request.path)
            raise ConnectionReset
        return None

    ready.fault = fault
    done = fine_tune(project)
    assert done.returncode == 0, done.stderr
    assert len(broken) == 3


def test_after_a_failed_job_the_same_command_makes_another_attempt(ready: AzureEmulator, project: Path) -> None:
    ready.world.job_failure = "CUDA out of memory."
    failed = fine_tune(project)
    assert failed.returncode == 3
    assert "failed: step node > " in failed.stderr
    assert "chat_completion_finetune: CUDA out of memory." in failed.stderr
    assert set(states(project).values()) == {"Failed"}
    ready.world.job_failure = None
    assert fine_tune(project).returncode == 0
    first, second = ready.jobs.all
    assert second.name == f"{first.name}-2"
    assert states(project) == {first.name: "Failed", second.name: "Completed"}


@pytest.mark.slow
def test_several_gpus_and_nodes_go_through_the_components_own_settings(ready: AzureEmulator, project: Path) -> None:
    text = '[azure]\ncompute = "big-cluster"\nmax_nodes = 2\nfine_tune_size = "Standard_NC48ads_A100_v4"\n'
    (project / "phi3flow.toml").write_text(text, encoding="utf-8")
    take_all(ready, project, ["azure up"])
    done = fine_tune(project, "--gpus", "2", "--nodes", "2", "--deepspeed-stage", "3")
    assert done.returncode == 0, done.stderr
    inputs = inputs_of(ready)
    assert (inputs["number_of_gpu_to_use_finetuning"], inputs["num_nodes_finetune"]) == ("2", "2")
    assert (inputs["apply_deepspeed"], inputs["deepspeed_stage"]) == ("true", "3")
    assert inputs["compute_finetune"] == "big-cluster"


@pytest.mark.slow
def test_the_models_own_defaults_stand_where_nothing_else_is_asked_for(
    ready: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = registries()["azureml"]["models"]["Phi-4-mini-instruct"]["tags"]
    defaults = {"apply_deepspeed": "true", "deepspeed_stage": 2, "apply_lora": True, "learning_rate": 5e-6, "new": 1}
    monkeypatch.setitem(tags, "model_specific_defaults", str(defaults))
    assert fine_tune(project, "--learning-rate", "0.0001", "--lr-scheduler-type", "cosine").returncode == 0
    inputs = inputs_of(ready)
    assert (inputs["apply_deepspeed"], inputs["deepspeed_stage"], inputs["apply_lora"]) == ("true", "2", "true")
    assert (float(inputs["learning_rate"]), inputs["lr_scheduler_type"]) == (1e-4, "cosine")
    assert "new" not in inputs


@pytest.mark.slow
def test_unchanged_data_is_uploaded_once_for_two_jobs(ready: AzureEmulator, project: Path) -> None:
    assert fine_tune(project).returncode == 0
    writes = len(ready.writes)
    assert fine_tune(project, "--epochs", "3").returncode == 0
    assert [each.path.rpartition("/jobs/")[1] for each in ready.writes[writes:]] == ["/jobs/"]


def test_a_malformed_line_is_named_before_anything_is_asked(azure: AzureEmulator, project: Path) -> None:
    make_project(project)
    take_all(azure, project, ["prepare-data"])
    with (project / "data" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": ""}]}\n')
    done = fine_tune(project)
    assert done.returncode == 2
    assert "train.jsonl:" in done.stderr
    assert azure.requests == []


@pytest.mark.slow
def test_weights_that_the_component_does_not_know_are_said(ready: AzureEmulator, project: Path) -> None:
    rows = [json.loads(line) for line in (project / "data" / "train.jsonl").read_text().splitlines()]
    rows[0]["messages"][-1]["weight"] = 0
    (project / "data" / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = fine_tune(project, "--detach")
    assert done.returncode == 0, done.stderr
    assert "1 message of weight 0: the catalog's component does not know weights and learns them too" in done.stderr
    assert "weight" not in fine_tune(project, "--detach", "--recipe", "script").stderr
