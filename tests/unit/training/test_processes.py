"""Two processes that share a training, as torchrun starts them: one model, one report, the same figures in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError
from phi3flow.training import BaseConfig, fine_tune, read_record
from tests.support.folders.small_training import small_fine_tune, write_chats
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.tracking_server import TrackingServer

FLAGS = ("--epochs", "2", "--batch-size", "4", "--learning-rate", "0.02", "--output", "out", "--json")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], TrackingServer]:
    """Fine-tune with two processes; return the folder, what they printed, and what MLflow was told."""
    project = tmp_path_factory.mktemp("project")
    (project / "data").mkdir()
    write_chats(project / "data")
    save_tiny_phi3(project / "phi3")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "phi3flow.cli.main", "fine-tune", "--model", "phi3", *FLAGS]
    with TrackingServer(project / "artifacts", run_id="run-1") as tracking:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": tracking.url}
        environment["MLFLOW_RUN_ID"] = "run-1"
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return project, json.loads(done.stdout), tracking


@pytest.mark.slow
def test_a_step_takes_a_batch_of_each(shared: tuple[Path, dict[str, Any], TrackingServer]) -> None:
    record = read_record(shared[0] / "out")
    assert record is not None
    assert record.parameters["processes"] == 2
    assert record.steps[-1].step == 2 * 32 / (2 * 4)
    assert record.after["validation_loss"] < record.before["validation_loss"]


@pytest.mark.slow
def test_the_parts_that_each_measures_make_the_loss_of_the_whole(
    shared: tuple[Path, dict[str, Any], TrackingServer],
) -> None:
    from peft import AutoPeftModelForCausalLM

    from phi3flow.datasets import read_chats
    from phi3flow.training.examples import encode_chats
    from phi3flow.training.measurement import measure_loss
    from phi3flow.training.weights import load_tokenizer

    project, printed, _ = shared
    model = AutoPeftModelForCausalLM.from_pretrained(project / "out")
    chats = [row["messages"] for row in read_chats(project / "data" / "validation.jsonl")]
    examples = encode_chats(load_tokenizer(project / "out"), chats, max_tokens=256).examples
    measured = measure_loss(model, examples, batch_size=1)
    assert printed["metrics"]["after"]["validation_loss"] == pytest.approx(measured, rel=1e-5)


@pytest.mark.slow
def test_only_the_first_tells_mlflow(shared: tuple[Path, dict[str, Any], TrackingServer]) -> None:
    project, printed, tracking = shared
    record = read_record(project / "out")
    assert record is not None
    assert tracking.metric("loss") == [(step.step, step.loss) for step in record.steps]
    assert tracking.metric("after.validation_loss") == [(0, printed["metrics"]["after"]["validation_loss"])]
    assert set(tracking.calls) == {"runs/log-batch", "runs/get"}  # its owner ends the run


@pytest.mark.slow
def test_nothing_but_the_model_is_left(shared: tuple[Path, dict[str, Any], TrackingServer]) -> None:
    folders = sorted(each.name for each in shared[0].iterdir() if each.is_dir())
    assert folders == [".phi3flow", "artifacts", "data", "out", "phi3"]
    assert [each.name for each in (shared[0] / "artifacts").iterdir()] == ["training.json"]


def test_several_processes_need_given_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes share a training of given weights only: give --model"):
        fine_tune(small_fine_tune(tmp_path, BaseConfig()))
