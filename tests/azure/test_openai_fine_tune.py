"""`phi3flow fine-tune --backend azure-openai`: what is sent, what is said before and after, and nothing twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.emulator.messages import Request
from tests.azure.emulator.openai.multipart import read_upload
from tests.azure.openai_account import ENDPOINT, client_of
from tests.azure.openai_project import BACKEND, MODEL, OpenAIProject

BOM = b"\xef\xbb\xbf"
STATE = ".phi3flow/state.json"


def test_files_are_uploaded_with_a_mark_and_named_by_their_content(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model("--epochs", "1")
    uploads = [read_upload(request) for request in openai_project.posted("/openai/v1/files")]
    assert [upload.fields["purpose"] for upload in uploads] == ["fine-tune", "fine-tune"]
    names = [re.sub(r"[0-9a-f]{16}", "HASH", upload.filename) for upload in uploads]
    assert names == ["training_set-HASH.jsonl", "validation_set-HASH.jsonl"]
    assert all(upload.content.startswith(BOM) for upload in uploads)
    first = json.loads(uploads[0].content.decode("utf-8-sig").splitlines()[0])
    assert first == {
        "messages": [
            {"role": "user", "content": "Who founded company 0?"},
            {"role": "assistant", "content": "Person 0"},
        ]
    }


def test_the_job_asks_for_what_was_given_and_leaves_the_rest_to_the_service(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model(
        *("--epochs", "2", "--batch-size", "3", "--learning-rate-multiplier", "0.5", "--suffix", "support"),
        *("--seed", "105", "--training-type", "Standard"),
    )
    (request,) = openai_project.posted("/fine_tuning/jobs")
    validation, training = (file.id for file in openai_project.files if file.purpose == "fine-tune")
    hyperparameters = {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5}
    assert request.json == {
        "model": MODEL,
        "training_file": training,
        "validation_file": validation,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": 105,
        "suffix": "support",
        "trainingType": "Standard",
    }
    assert request.headers["user-agent"].startswith("phi3flow/")


def test_without_flags_the_service_chooses_and_may_train_anywhere(openai_project: OpenAIProject) -> None:
    done = openai_project.fine_tune()
    (request,) = openai_project.posted("/fine_tuning/jobs")
    assert request.json["method"] == {"type": "supervised", "supervised": {"hyperparameters": {}}}
    assert request.json["trainingType"] == "GlobalStandard"
    assert "suffix" not in request.json
    assert (
        "GlobalStandard: Azure may train in any region; --training-type Standard stays in the resource's" in done.stderr
    )


def test_tokens_are_told_before_anything_is_uploaded(openai_project: OpenAIProject) -> None:
    done = openai_project.give("fine-tune", "--model", MODEL)
    assert done.returncode == 1
    assert openai_project.azure.writes == []
    assert "train: 12 examples\n  tokens an example: min 20, max 20, mean 20.0" in done.stderr
    assert "validation: 4 examples" in done.stderr
    assert (
        "billed by the trained token: about 240 tokens an epoch, as many epochs as the service chooses" in done.stderr
    )


@pytest.mark.parametrize(
    ("flags", "limit"), [((), 4096), (("--max-seq-length", "100"), 100), (("--max-seq-length", "5000"), 5000)]
)
def test_long_examples_are_named_by_file_and_line(
    openai_project: OpenAIProject, flags: tuple[str, ...], limit: int
) -> None:
    short = openai_project.write_chats("data/train.jsonl", 11).read_text()
    long = openai_project.write_chats("long.jsonl", 1, words=4500).read_text()
    (openai_project.folder / "data/train.jsonl").write_text(short + long, encoding="utf-8")
    done = openai_project.fine_tune(*flags)
    assert done.returncode == 0, done.stderr
    named = "1 long example: data/train.jsonl:12 (4,5"
    assert (named in done.stderr) == (limit < 4500)


def test_an_example_over_what_the_model_takes_is_refused_before_anything_is_uploaded(
    openai_project: OpenAIProject,
) -> None:
    short = openai_project.write_chats("data/train.jsonl", 11).read_text()
    long = openai_project.write_chats("long.jsonl", 1, words=66_000).read_text()
    (openai_project.folder / "data/train.jsonl").write_text(short + long, encoding="utf-8")
    done = openai_project.fine_tune()
    assert done.returncode == 2
    assert "1 example over the model's 65,536 tokens: data/train.jsonl:12 has 66," in done.stderr
    assert openai_project.azure.writes == []


def test_nine_examples_are_too_few_and_one_to_validate_with_is_enough(openai_project: OpenAIProject) -> None:
    openai_project.write_chats("data/validation.jsonl", 1)
    openai_project.write_chats("data/train.jsonl", 9)
    done = openai_project.fine_tune()
    assert done.returncode == 2
    assert "data/train.jsonl has 9 examples; the service takes at least 10" in done.stderr
    assert openai_project.azure.writes == []
    openai_project.write_chats("data/train.jsonl", 10)
    assert openai_project.fine_tune().returncode == 0


@pytest.mark.parametrize("spelling", ["validation_", "valid_"])
def test_the_results_are_read_in_either_spelling(openai_project: OpenAIProject, spelling: str) -> None:
    openai_project.azure.world.openai_results_spelling = spelling
    told = openai_project.told("fine-tune", "--model", MODEL, "--epochs", "2", "--yes")
    assert set(told["metrics"]) >= {"train_loss", "validation_loss", "validation_token_accuracy"}
    training = json.loads((openai_project.folder / told["training"] / "training.json").read_text(encoding="utf-8"))
    assert len(training["steps"]) == 24
    assert training["parameters"]["n_epochs"] == 2
    assert training["parameters"]["batch_size"] == "auto"


def test_results_that_are_gone_are_said_and_the_job_has_completed_all_the_same(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_results_missing = True
    done = openai_project.fine_tune()
    assert done.returncode == 0
    assert "is gone: there are no curves" in done.stdout
    assert "train_loss: " in done.stdout


def test_a_state_that_nobody_knows_is_shown_and_waited_on(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_strange_status = "moonwalking"
    done = openai_project.fine_tune()
    assert done.returncode == 0
    assert f"{openai_project.jobs[0].id}: moonwalking" in done.stderr
    assert f"{openai_project.jobs[0].id}: Completed" in done.stdout


def test_each_event_is_told_once_and_in_order(openai_project: OpenAIProject) -> None:
    done = openai_project.fine_tune("--epochs", "2")
    job = openai_project.jobs[0]
    told = [line.removeprefix(f"{job.id}: ") for line in done.stderr.splitlines() if line.startswith(f"{job.id}: ")]
    states = [line for line in told if re.match(r"(pending|running|Completed)($|  )", line)]
    assert [line for line in told if line not in states] == [event["message"] for event in job.events]
    assert [line.partition(" ")[0] for line in states] == ["pending", "running", "Completed"]


def test_how_long_the_job_took_is_told(openai_project: OpenAIProject) -> None:
    job_id = openai_project.told("fine-tune", "--model", MODEL, "--yes", "--detach")["job"]
    openai_project.jobs[0].created_at -= 2100
    done = openai_project.must("fine-tune", "--attach", job_id)
    assert done.stdout.startswith(f"{job_id}: Completed, after 35 min ")


def test_the_resources_other_jobs_are_told_before_a_new_one_is_begun(openai_project: OpenAIProject) -> None:
    first = openai_project.fine_tune()
    assert "other jobs" not in first.stderr
    for seed in range(1, 7):
        openai_project.must("fine-tune", "--model", MODEL, "--yes", "--seed", str(seed), "--detach")
    newest = [job.id for job in openai_project.jobs]
    done = openai_project.give("fine-tune", "--model", MODEL, "--seed", "7")
    line = next(line for line in done.stderr.splitlines() if line.startswith("other jobs"))
    assert line == f"other jobs of the resource: {', '.join(f'{job} (pending)' for job in newest[:5])}, and 2 more"


def test_checkpoints_are_listed_and_one_can_be_deployed(openai_project: OpenAIProject) -> None:
    told = openai_project.told("fine-tune", "--model", MODEL, "--epochs", "2", "--yes")
    model = openai_project.models[0]
    assert told["checkpoints"] == [f"{model}:ckpt-step-24", f"{model}:ckpt-step-12"]
    openai_project.must("deploy", told["checkpoints"][1], "--name", "early", "--yes")
    assert openai_project.deployments["early"]["properties"]["model"]["name"] == f"{model}:ckpt-step-12"


def test_a_job_that_was_left_to_itself_is_followed_by_its_name(openai_project: OpenAIProject) -> None:
    left = openai_project.told("fine-tune", "--model", MODEL, "--yes", "--detach")
    assert (left["status"], left["job"]) == ("NotStarted", openai_project.jobs[0].id)
    followed = openai_project.told("fine-tune", "--attach", left["job"])
    assert (followed["status"], followed["job"], followed["output"]) == ("Completed", left["job"], left["output"])
    assert len(openai_project.jobs) == 1


def test_an_unknown_job_is_refused_with_those_that_there_are(openai_project: OpenAIProject) -> None:
    job = openai_project.told("fine-tune", "--model", MODEL, "--yes", "--detach")["job"]
    for words in (
        ("fine-tune", "--attach", "ftjob-nosuch"),
        ("cancel", "ftjob-nosuch", "--yes"),
        ("register", "ftjob-nosuch"),
    ):
        done = openai_project.give(*words)
        assert done.returncode == 2
        assert "there is no job ftjob-nosuch" in done.stderr
        assert job in done.stderr


def test_ctrl_c_leaves_the_job_to_azure_and_says_how_to_follow_it(openai_project: OpenAIProject) -> None:
    """In a process of its own: a flow that ran in this one may have left promptflow's handler of the signal."""
    started: list[subprocess.Popen[str]] = []

    def interrupt(request: Request) -> None:
        if request.path.endswith("/events") and started:
            started.pop().send_signal(signal.SIGINT)

    command = [sys.executable, "-m", "phi3flow.cli.main", "fine-tune", *BACKEND, "--model", MODEL, "--yes"]
    process = subprocess.Popen(command, cwd=openai_project.folder, stderr=subprocess.PIPE, text=True)
    started.append(process)
    openai_project.azure.fault = interrupt
    said = process.communicate(timeout=60)[1]
    openai_project.azure.fault = lambda _: None
    job = openai_project.jobs[0]
    assert process.returncode == 130, said
    way_back = f"phi3flow fine-tune --backend azure-openai --attach {job.id}"
    assert f"The job goes on in Azure; to follow it: {way_back}" in said
    assert job.status not in ("cancelled", "failed")
    openai_project.must("fine-tune", "--attach", job.id)


def test_a_canceled_job_is_told_and_the_next_attempt_is_a_new_job(openai_project: OpenAIProject) -> None:
    job = openai_project.told("fine-tune", "--model", MODEL, "--yes", "--detach")["job"]
    assert openai_project.told("cancel", "--yes") == {"backend": "azure-openai", "job": job, "status": "Canceled"}
    assert openai_project.told("cancel", job, "--yes")["status"] == "Canceled"
    assert len(openai_project.posted("/cancel")) == 1
    done = openai_project.give("fine-tune", "--attach", job)
    assert done.returncode == 3
    assert f"job {job} was canceled" in done.stderr
    assert openai_project.fine_tune().returncode == 0
    assert len(openai_project.jobs) == 2
    assert len(openai_project.posted("/openai/v1/files")) == 2


def test_a_failed_job_says_why_and_the_next_attempt_is_a_new_job(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_job_failure = "The GPU caught fire."
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert f"job {openai_project.jobs[0].id} failed: The GPU caught fire" in done.stderr
    openai_project.azure.world.openai_job_failure = None
    assert openai_project.fine_tune().returncode == 0
    assert [job.status for job in openai_project.jobs] == ["succeeded", "failed"]


def test_what_the_service_finds_wrong_in_a_file_is_told_and_the_file_is_not_kept(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_file_failure = "The file is corrupt."
    done = openai_project.fine_tune()
    assert done.returncode == 2
    assert "the service does not take the train file: The file is corrupt." in done.stderr
    openai_project.azure.world.openai_file_failure = None
    assert openai_project.fine_tune().returncode == 0


def test_the_same_content_is_the_same_job_also_where_nothing_was_noted(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model("--epochs", "2")
    (openai_project.folder / STATE).unlink()
    openai_project.write_chats("elsewhere.jsonl", 12)
    writes = len(openai_project.azure.writes)
    told = openai_project.told("fine-tune", "--model", MODEL, "--epochs", "2", "--train", "elsewhere.jsonl", "--yes")
    assert told["job"] == openai_project.jobs[0].id
    assert len(openai_project.azure.writes) == writes
    assert openai_project.told("register")["model"] == openai_project.models[0]


def test_a_job_whose_files_were_deleted_is_the_same_still(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model()
    client = client_of(ENDPOINT, openai_project.keys[0])
    for file in openai_project.files:
        client.files.delete(file.id)
    writes = len(openai_project.azure.writes)
    done = openai_project.fine_tune()
    assert done.returncode == 0
    assert "is gone: there are no curves" in done.stdout
    assert len(openai_project.azure.writes) == writes


@pytest.mark.slow
def test_jobs_that_differ_are_told_apart(openai_project: OpenAIProject) -> None:
    variants = [
        (),
        ("--epochs", "3"),
        ("--seed", "1"),
        ("--suffix", "other"),
        ("--training-type", "Standard"),
        ("--batch-size", "2"),
    ]
    for variant in (*variants, *variants):
        assert openai_project.fine_tune(*variant).returncode == 0
    assert len(openai_project.jobs) == len(variants)
    (openai_project.folder / STATE).unlink()
    for variant in variants[1:]:
        assert openai_project.fine_tune(*variant).returncode == 0
    assert len(openai_project.jobs) == len(variants)


def test_a_model_is_registered_under_the_services_name_only(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model("--suffix", "support")
    assert openai_project.told("register") == openai_project.told("register") == {"model": model, "version": "1"}
    done = openai_project.give("register", "--name", "mine")
    assert done.returncode == 2
    assert "--name does not go with --backend azure-openai: fine-tune --suffix names the model" in done.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--suffix", "v1.2"), "Azure takes no dot"),
        (("--suffix", "a" * 19), "is 1 to 18 letters"),
        (("--learning-rate", "0.001"), "--learning-rate-multiplier"),
        (("--lr-scheduler-type", "cosine"), "which takes --epochs, --batch-size, --learning-rate-multiplier"),
        (("--gpus", "2"), "trains on machines of its own"),
        (("--merge",), "the service keeps the weights"),
    ],
)
def test_what_the_service_does_not_take_is_refused_by_the_flags_name(
    openai_project: OpenAIProject, flags: tuple[str, ...], says: str
) -> None:
    done = openai_project.fine_tune(*flags)
    assert done.returncode == 2
    assert flags[0] in done.stderr
    assert says in done.stderr
    assert openai_project.azure.requests == []


def test_without_a_model_the_settings_name_it_and_else_it_is_asked_for(openai_project: OpenAIProject) -> None:
    done = openai_project.give("fine-tune", "--yes")
    assert done.returncode == 2
    assert "which model? --model, openai_model in phi3flow.toml or AZURE_OPENAI_MODEL names one" in done.stderr
    settings = openai_project.folder / "phi3flow.toml"
    settings.write_text(f'{settings.read_text()}openai_model = "{MODEL}"\n', encoding="utf-8")
    assert openai_project.give("fine-tune", "--yes").returncode == 0
    assert openai_project.jobs[0].settings.model == MODEL


def test_a_closed_family_is_warned_of_until_a_job_shows_that_it_is_open_to_the_caller(
    openai_project: OpenAIProject,
) -> None:
    warning = "no job of this resource has fine-tuned it before"
    assert warning in openai_project.fine_tune().stderr
    assert warning not in openai_project.fine_tune("--seed", "1").stderr


@pytest.mark.slow
def test_where_tokens_cannot_be_counted_that_is_said(openai_project: OpenAIProject, tmp_path: Path) -> None:
    """In a process of its own: tiktoken keeps an encoding that it has read once."""
    command = [sys.executable, "-m", "phi3flow.cli.main", "fine-tune", *BACKEND, "--model", MODEL, "--yes"]
    variables = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path / "empty")}
    done = subprocess.run(command, cwd=openai_project.folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the tokens were not counted: " in done.stderr


def test_the_files_of_the_project_are_left_as_they_are(openai_project: OpenAIProject) -> None:
    files = [openai_project.folder / "data" / name for name in ("train.jsonl", "validation.jsonl")]
    before = [path.read_bytes() for path in files]
    openai_project.tuned_model()
    assert [path.read_bytes() for path in files] == before
    assert {path.name for path in (openai_project.folder / ".phi3flow").iterdir()} >= {"state.json", "upload"}


def test_a_fine_tuned_model_is_trained_further(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model("--suffix", "first")
    again = openai_project.tuned_model("--suffix", "second", model=model)
    assert again != model
    assert openai_project.jobs[0].settings.model == model
