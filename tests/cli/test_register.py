"""The verb register: a job's model gets a name and a version in MLflow's registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.backends.local.jobs import run_job
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.training import BaseConfig
from tests.support.command_line import phi3flow
from tests.support.folders.small_training import small_base, small_fine_tune
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.paths import FLOWS


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two jobs: the tiny base, fine-tuned whole, then an adapter on given weights."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train = {"hyperparameters": {"epochs": 1}}
        run_job(small_fine_tune(folder, small_base(folder / "cache"), output=Path("whole"), **train))
        model = save_tiny_phi3(folder / "phi3")
        run_job(small_fine_tune(folder, BaseConfig(), model=model, output=Path("adapter"), **train))
    return folder


def registered(project: Path, *arguments: str) -> dict[str, Any]:
    done = phi3flow("register", *arguments, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def load(project: Path, name: str, version: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    return mlflow.transformers.load_model(f"models:/{name}/{version}", return_type="components")["model"]


def test_the_latest_job_is_registered_with_its_adapter(project: Path) -> None:
    assert registered(project) == {"model": "adapter", "version": "1"}
    model = load(project, "adapter", "1")
    from safetensors.torch import load_file

    trained = load_file(project / "adapter" / "adapter_model.safetensors")
    weights = {name.replace(".default", ""): tensor for name, tensor in model.state_dict().items()}
    assert all(weights[name].equal(tensor) for name, tensor in trained.items())


def test_a_named_job_is_registered_with_its_weights_under_a_name(project: Path) -> None:
    job = state.load(project / STATE_FILE).jobs[0]
    assert registered(project, job.name, "--name", "support") == {"model": "support", "version": "1"}
    assert registered(project, job.name, "--name", "support") == {"model": "support", "version": "1"}
    model = load(project, "support", "1")
    from safetensors.torch import load_file

    trained = load_file(project / "whole" / "model.safetensors")
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in trained.items())
    remembered = state.load(project / STATE_FILE).models
    assert [(each.name, each.version, each.source) for each in remembered if each.name == "support"] == [
        ("support", "1", "whole")
    ]


def test_the_registry_holds_safetensors_only(project: Path) -> None:
    registered(project, "--name", "files")
    names = {path.name for path in project.glob("mlruns/**/artifacts/**/*") if path.is_file()}
    assert {"adapter_model.safetensors"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}


def test_the_version_of_the_chat_flow_is_a_tag(project: Path) -> None:
    import mlflow

    (project / "flows").symlink_to(FLOWS)
    try:
        registered(project, "--name", "tagged")
    finally:
        (project / "flows").unlink()
    tags = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}").get_model_version("tagged", "1").tags
    assert tags["flow_version"].startswith("chat_phi3-1.0.0-")


def test_an_unknown_job_is_refused_with_those_there_are(project: Path) -> None:
    done = phi3flow("register", "nosuch", cwd=project)
    assert done.returncode == 2
    assert "there is no completed job 'nosuch'; the fine-tuning jobs are: whole-" in done.stderr


def test_nothing_to_register_is_said(tmp_path: Path) -> None:
    done = phi3flow("register", cwd=tmp_path)
    assert done.returncode == 2
    assert "no job has completed; the fine-tuning jobs are: none was run in this folder" in done.stderr


def test_a_job_whose_output_is_gone_is_refused(project: Path) -> None:
    (project / "whole").rename(project / "moved")
    try:
        done = phi3flow("register", state.load(project / STATE_FILE).jobs[0].name, cwd=project)
    finally:
        (project / "moved").rename(project / "whole")
    assert done.returncode == 2
    assert "its output whole holds no finished model any more; fine-tune again" in done.stderr


def test_a_store_that_cannot_be_reached_is_a_backend_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = phi3flow("register", "--name", "unreachable", cwd=project)
    assert done.returncode == 3
    assert "MLflow at http://127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr
