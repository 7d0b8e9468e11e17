"""The verb fine-tune, as it is used: results, files, errors, and an interruption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.storage.jsonl import read_rows, write_rows
from phi3flow.training import read_record
from tests.support.command_line import phi3flow
from tests.support.folders.small_training import chat, write_chats
from tests.support.folders.tiny_phi3 import save_tiny_phi3


def make_project(folder: Path) -> Path:
    """Write chats and a small model into ``folder``."""
    (folder / "data").mkdir()
    write_chats(folder / "data")
    write_rows(folder / "one.jsonl", [chat("lamp")])
    save_tiny_phi3(folder / "phi3")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def fine_tuned(project: Path) -> dict[str, object]:
    done = phi3flow("fine-tune", "--model", "phi3", "--epochs", 2, "--batch-size", 8, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_the_result_names_job_output_and_metrics(fine_tuned: dict[str, object], project: Path) -> None:
    assert fine_tuned.keys() == {"backend", "job", "status", "output", "metrics", "checkpoints", "training"}
    assert (fine_tuned["backend"], fine_tuned["status"], fine_tuned["output"]) == (
        "local",
        "Completed",
        "models/fine-tuned",
    )
    record = read_record(project / "models" / "fine-tuned")
    assert record is not None
    assert fine_tuned["metrics"] == {"before": record.before, "after": record.after}
    assert record.parameters["epochs"] == 2


def test_the_job_is_remembered(fine_tuned: dict[str, object], project: Path) -> None:
    jobs = state.load(project / STATE_FILE).jobs
    assert [(job.name, job.status, job.output) for job in jobs] == [
        (fine_tuned["job"], "Completed", "models/fine-tuned")
    ]


def test_mlflow_has_the_steps_the_settings_and_the_record(fine_tuned: dict[str, object], project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("phi3flow")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    record = read_record(project / "models" / "fine-tuned")
    assert record is not None
    assert (run.info.run_name, run.info.status) == (fine_tuned["job"], "FINISHED")
    assert run.data.params["learning_rate"] == "0.0002"
    logged = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in logged] == [(step.step, step.loss) for step in record.steps]
    assert run.data.metrics["after.validation_loss"] == record.after["validation_loss"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["training.json"]
    assert (project / "mlruns").is_dir()


def test_the_same_command_again_trains_nothing(fine_tuned: dict[str, object], project: Path) -> None:
    done = phi3flow("fine-tune", "--model", "phi3", "--epochs", 2, "--batch-size", 8, "--json", cwd=project)
    assert json.loads(done.stdout) == fine_tuned
    assert done.stderr == ""


def test_without_a_terminal_progress_is_plain_lines(project: Path) -> None:
    command = ("fine-tune", "--model", "phi3", "--output", "models/plain", "--epochs", 1, "--batch-size", 16)
    done = phi3flow(*command, cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(fine-tune: step \d of 2, validation loss \d\.\d{4}, \d+ s left\n)+", done.stderr)
    assert re.search(r"validation loss: \d\.\d{3} before, \d\.\d{3} after", done.stdout)


def test_examples_left_out_are_said_before_and_stand_in_summary_and_record(project: Path, tmp_path: Path) -> None:
    rows = [row for _, row in read_rows(project / "data" / "train.jsonl")]
    silent, late = deepcopy(rows[0]), deepcopy(rows[0])
    silent["messages"][1]["weight"] = 0
    late["messages"][0]["content"] = "word " * 300
    write_rows(tmp_path / "train.jsonl", [*rows, late, silent])
    command = ("fine-tune", "--model", "phi3", "--train", tmp_path / "train.jsonl", "--output", "models/late")
    done = phi3flow(*command, "--epochs", 1, cwd=project)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "train.jsonl"
    assert done.stderr.startswith(
        f"{place}: of 34 examples 1 left out, no answer within 256 tokens ({place}:33); 1 with"
    )
    assert "examples: 32 learnt, 1 left out, no answer within 256 tokens, 1 with nothing to learn" in done.stdout
    record = read_record(project / "models" / "late")
    assert record is not None
    counts = {name: value for name, value in record.parameters.items() if "examples" in name}
    assert counts == {
        "examples": 32,
        "examples_cut": 0,
        "examples_dropped": 1,
        "examples_without_weight": 1,
        "validation_examples": 4,
        "validation_examples_cut": 0,
        "validation_examples_dropped": 0,
        "validation_examples_without_weight": 0,
    }


def test_too_many_left_out_are_refused_before_anything_is_trained_or_noted(project: Path, tmp_path: Path) -> None:
    rows = [row for _, row in read_rows(project / "data" / "train.jsonl")][:20]
    late = [deepcopy(rows[0]) | {"n": number} for number in range(40)]
    for row in late:
        row["messages"][0]["content"] = "word " * 40
    write_rows(tmp_path / "train.jsonl", [*rows, *late])
    command = ("fine-tune", "--model", "phi3", "--train", tmp_path / "train.jsonl", "--output", "models/never")
    done = phi3flow(*command, "--max-seq-length", 60, cwd=project)
    assert done.returncode == 2
    assert "of 60 examples 40 left out, no answer within 60 tokens" in done.stderr
    assert "--max-seq-length" in done.stderr
    assert not (project / "models" / "never").exists()
    assert all(job.output != "models/never" for job in state.load(project / STATE_FILE).jobs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nowhere"), "--model nowhere: there is no such folder"),
        (("--model", "data"), "not a model folder"),
        (("--train", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
        (("--learning-rate", "0"), "--learning-rate 0.0: Input should be greater than 0"),
        (("--learning-rate", "-1"), "--learning-rate -1.0: Input should be greater than 0"),
        (("--lr-scheduler-type", "sideways"), "--lr-scheduler-type sideways: Input should be"),
        (("--model", "phi3", "--output", "models/new", "--resume"), "--resume: there is no checkpoint in models/new"),
        (("--output", "data"), "data is not empty and was not made by a fine-tune"),
        (("--validation-split", "0.1", "--train", "one.jsonl"), "it has 1 conversation, and a side would stay empty"),
    ],
)
def test_what_is_wrong_is_one_paragraph(project: Path, arguments: tuple[str, ...], message: str) -> None:
    done = phi3flow("fine-tune", *arguments, cwd=project)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_share_of_the_chats_is_kept_apart_and_measured_by(project: Path) -> None:
    command = ("fine-tune", "--model", "phi3", "--output", "models/split", "--epochs", 1, "--batch-size", 16)
    done = phi3flow(*command, "--validation-split", 0.25, cwd=project)
    assert done.returncode == 0, done.stderr
    (folder,) = (project / ".phi3flow" / "splits").iterdir()
    assert done.stderr.startswith(
        f"data/train.jsonl: 24 conversations to learn, 8 to measure it by, which are {folder.relative_to(project)}"
        "/validation.jsonl\n"
    )
    sides = [(folder / f"{name}.jsonl").read_bytes().splitlines() for name in ("train", "validation")]
    assert [len(side) for side in sides] == [24, 8]
    assert not {*sides[0]} & {*sides[1]}  # every chat stands twice in the file
    record = read_record(project / "models" / "split")
    assert record is not None
    assert (record.parameters["examples"], record.parameters["validation_examples"]) == (24, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--validation-split", "1"), "'1' is not a share between 0 and 1, such as 0.1"),
        (("--validation-split", "0"), "'0' is not a share"),
        (("--validation-split", "nan"), "'nan' is not a share"),
        (("--validation-split", "10%"), "'10%' is not a share"),
        (("--validation-split", "0.1", "--validation", "data/validation.jsonl"), "not allowed with argument"),
    ],
)
def test_a_share_is_between_0_and_1_and_goes_without_a_file(
    project: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = phi3flow("fine-tune", *arguments, cwd=project)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
def test_an_interruption_keeps_the_checkpoint_and_resume_goes_on(tmp_path: Path) -> None:
    make_project(tmp_path)
    command = [sys.executable, "-m", "phi3flow.cli.main", "fine-tune", "--model", "phi3", "--epochs", "24"]
    command += ["--batch-size", "8", "--output", "out", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env=environment, start_new_session=True)
    while not list(tmp_path.glob("out.checkpoints/checkpoint-*")):
        assert child.poll() is None, child.communicate()[1].decode()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate()
    assert child.returncode == 130, stderr.decode()
    assert stderr.decode().endswith("phi3flow: error: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)  # nothing of its session is left
    assert [job.status for job in state.load(tmp_path / STATE_FILE).jobs] == ["Canceled"]
    done = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert [job.status for job in state.load(tmp_path / STATE_FILE).jobs] == ["Completed"]
    steps = read_record(tmp_path / "out").steps  # type: ignore[union-attr]
    assert [step.step for step in steps] == sorted({step.step for step in steps})
    assert steps[-1].step == 96


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from phi3flow.cli.main import main; main([sys.argv[1], '--help']); "
        "print({'torch', 'transformers', 'mlflow', 'pydantic', 'rich'} & sys.modules.keys())"
    )
    for verb in ("fine-tune", "register"):
        done = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("set()\n")


def test_main_is_what_the_console_script_calls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fine-tune", "--epochs", "0"]) == 2
    assert "'0' is not a whole number of at least 1" in capsys.readouterr().err
