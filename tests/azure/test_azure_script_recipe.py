"""fine-tune --backend azureml --recipe script: our own trainer as a command job, which is really run here."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import phi3flow
from phi3flow.backends.azureml.script_recipe import CONDA_FILE
from phi3flow.training import read_record
from tests.azure.cluster import NOT_HERE, Cluster
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job
from tests.azure.openapi import validate
from tests.azure.snapshots import resource
from tests.support.command_line import Done
from tests.support.command_line import phi3flow as type_in
from tests.support.folders.small_training import write_chats
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.paths import ROOT
from tests.support.servers.scoring_server import load_script
from tests.support.servers.tracking_server import TrackingServer

ML = "Microsoft.MachineLearningServices/workspaces"
VERB = ("fine-tune", "--backend", "azureml", "--recipe", "script", "--yes")
ASKED = ("--epochs", "2", "--batch-size", "8", "--learning-rate", "0.02", "--seed", "3")
SPECS = os.environ.get("AZURE_SPECS_DIR", "")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureEmulator]:
    """A subscription that all tests of this file use."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        yield emulator


@pytest.fixture(scope="module")
def project(azure: AzureEmulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its data, whose workspace is there."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data").mkdir()
    write_chats(folder / "data")
    assert type_in("azure", "up", "--yes", cwd=folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def job(azure: AzureEmulator, project: Path) -> Job:
    """The job that was submitted."""
    done = type_in(*VERB, *ASKED, "--detach", cwd=project)
    assert done.returncode == 0, done.stderr
    return azure.jobs.all[0]


def settings(project: Path, **values: object) -> None:
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in values.items()]
    (project / "phi3flow.toml").write_text("\n".join(["[azure]", *lines, ""]), encoding="utf-8")


def test_the_job_runs_the_local_training_on_the_registrys_model(job: Job) -> None:
    body = job.properties
    assert (job.name[:-8], body["jobType"]) == ("phi-4-mini-instruct-", "Command")
    assert "python -m phi3flow.cli.main fine-tune --backend local --model ${{inputs.model}}" in body["command"]
    flags = "--learning-rate 0.02 --lr-scheduler-type cosine --epochs 2 --batch-size 8 --max-seq-length 2048 --seed 3"
    assert f"{flags} --merge" in body["command"]
    model = {"jobInputType": "mlflow_model", "mode": "Download"}
    assert body["inputs"]["model"] == model | {
        "uri": "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    }
    assert "/data/phi3flow-train-" in body["inputs"]["train"]["uri"]
    assert body["outputs"]["trained_model"]["jobOutputType"] == "custom_model"
    assert body["computeId"].endswith("/computes/gpu-cluster")
    assert (body["resources"]["instanceCount"], body.get("distribution")) == (1, None)
    assert (body["tags"]["recipe"], body["tags"]["base_model"]) == ("script", "Phi-4-mini-instruct:1")


def test_the_code_is_the_package_and_nothing_else(azure: AzureEmulator, job: Job) -> None:
    uri = azure.assets.need_version(job.properties["codeId"])["properties"]["codeUri"]
    account, container, path = azure.assets.place(job.workspace, uri)
    package = Path(phi3flow.__file__).parent
    files = {each.relative_to(package.parent) for each in package.rglob("*") if each.is_file()}
    sources = {str(each) for each in files if "__pycache__" not in each.parts}
    uploaded = {name.removeprefix(path).lstrip("/") for name in azure.blobs.names(account, container, path)}
    assert uploaded == sources


def test_the_same_command_finds_its_job_and_writes_nothing(azure: AzureEmulator, project: Path, job: Job) -> None:
    writes = len(azure.writes)
    done = type_in(*VERB, *ASKED, "--detach", cwd=project)
    assert done.returncode == 0, done.stderr
    assert job.name in done.stdout
    assert len(azure.writes) == writes


def test_another_training_uploads_nothing_again(azure: AzureEmulator, project: Path, job: Job) -> None:
    writes = len(azure.writes)
    done = type_in(*VERB, *ASKED, "--seed", "4", "--detach", cwd=project)
    assert done.returncode == 0, done.stderr
    (sent,) = azure.writes[writes:]
    assert sent.path.rpartition("/")[0].endswith("/jobs")
    other = azure.jobs.all[-1]
    assert other.name != job.name
    assert other.properties["codeId"] == job.properties["codeId"]
    assert other.properties["environmentId"] == job.properties["environmentId"]


def test_a_canceled_job_gets_a_second_attempt(azure: AzureEmulator, project: Path) -> None:
    type_in(*VERB, "--seed", "5", "--detach", cwd=project)
    first = azure.jobs.all[-1]
    first.move("Canceled")
    done = type_in(*VERB, "--seed", "5", "--detach", cwd=project)
    assert done.returncode == 0, done.stderr
    assert azure.jobs.all[-1].name == f"{first.name}-2"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--gpus", "2"), "--gpus 2: a Standard_NC24ads_A100_v4 has 1; set fine_tune_size"),
        (("--nodes", "2"), "--nodes 2: the cluster gpu-cluster has at most 1"),
        (
            ("--deepspeed-stage", "3"),
            "--deepspeed-stage 3: the script trains an adapter with the whole weights",
        ),
        (("--lr-scheduler-type", "sideways"), "--lr-scheduler-type sideways: Input should be"),
        (("--learning-rate", "2"), "--learning-rate 2.0: Input should be less than 1"),
        (("--model", "Phi-9"), "the registry azureml has no model Phi-9"),
        (("--resume",), "--resume is for --backend local"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_sent(
    azure: AzureEmulator, project: Path, flags: tuple[str, ...], message: str
) -> None:
    writes = len(azure.writes)
    done = type_in(*VERB, *flags, cwd=project)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(azure.writes) == writes


def as_mlflow_model(weights: Path, root: Path) -> Path:
    """Lay a model out as the registry does: weights, configuration and tokenizer apart."""
    parts = {"model": ("*.safetensors", "generation_config.json"), "config": ("config.json",), "tokenizer": ("*",)}
    for part, patterns in parts.items():
        (root / "data" / part).mkdir(parents=True)
        for file in [each for pattern in patterns for each in weights.glob(pattern)]:
            shutil.move(file, root / "data" / part)
    (root / "MLmodel").write_text("flavors: {hftransformersv2: {model_data: data}}\n", encoding="utf-8")
    return root


def run_really(azure: AzureEmulator, job: Job, folder: Path) -> tuple[Path, TrackingServer]:
    """Run a job on a cluster of this machine; return the folder of its model, and what MLflow was told."""
    registry = as_mlflow_model(save_tiny_phi3(folder / "phi3"), folder / "registry")
    with TrackingServer(folder / "artifacts", run_id=job.name) as tracking:
        variables = {"MLFLOW_TRACKING_URI": tracking.url, "MLFLOW_RUN_ID": job.name, "OMP_NUM_THREADS": "1"}
        cluster = Cluster(azure, folder, registry=registry, variables=variables)
        return cluster.run(job)["trained_model"], tracking


@pytest.fixture(scope="module")
def trained(azure: AzureEmulator, job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackingServer]:
    """What the job leaves when it is run."""
    return run_really(azure, job, tmp_path_factory.mktemp("cluster"))


@pytest.mark.slow
def test_the_job_leaves_a_whole_model(trained: tuple[Path, TrackingServer]) -> None:
    from phi3flow.serving.loading import load_model

    model, _ = trained
    record = read_record(model)
    assert record is not None
    assert (record.parameters["method"], record.parameters["merged"]) == ("lora", True)
    assert record.after["validation_loss"] < record.before["validation_loss"]
    assert not list(model.glob("adapter*"))
    assert load_model(model).context_tokens == 256
    load_script().load_model(model)


@pytest.mark.slow
def test_the_jobs_own_run_has_its_metrics(trained: tuple[Path, TrackingServer]) -> None:
    model, tracking = trained
    record = read_record(model)
    assert record is not None
    assert tracking.metric("loss") == [(step.step, step.loss) for step in record.steps]
    assert tracking.metric("after.validation_loss") == [(0, record.after["validation_loss"])]
    assert "runs/update" not in tracking.calls  # Azure ends the run with the job


@pytest.mark.slow
def test_its_model_is_registered_and_deployed(
    azure: AzureEmulator, project: Path, job: Job, trained: tuple[Path, TrackingServer]
) -> None:
    files = {each.name: each.read_bytes() for each in trained[0].iterdir()}
    azure.jobs.make_output = lambda ended, _: files if ended is job else {}
    for words in ((*VERB, *ASKED), ("register", "--backend", "azureml", job.name), ("deploy", "--backend", "azureml")):
        done: Done = type_in(*words, *(("--yes",) if words[0] == "deploy" else ()), cwd=project)
        assert done.returncode == 0, done.stderr
    version = resource(azure, f"{ML}/models/versions")["properties"]
    assert (version["modelType"], version["tags"]["recipe"]) == ("custom_model", "script")
    deployment = resource(azure, f"{ML}/onlineEndpoints/deployments")["properties"]
    assert deployment["model"].endswith("/models/Phi-4-mini-instruct-tuned/versions/1")


@pytest.mark.slow
def test_two_nodes_with_two_gpus_each_train_one_model(
    azure: AzureEmulator, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"compute": "two-gpus", "fine_tune_size": "Standard_NC48ads_A100_v4", "max_nodes": 2}
    try:
        settings(project, **values)
        for words in (("azure", "up", "--yes"), (*VERB, *ASKED, "--gpus", "2", "--nodes", "2", "--detach")):
            done = type_in(*words, cwd=project)
            assert done.returncode == 0, done.stderr
    finally:
        (project / "phi3flow.toml").unlink()
    job = azure.jobs.all[-1]
    assert job.properties["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 2}
    assert job.properties["resources"]["instanceCount"] == 2
    model, tracking = run_really(azure, job, tmp_path)
    record = read_record(model)
    assert record is not None
    assert (record.parameters["processes"], record.steps[-1].step) == (4, 2)
    assert len(tracking.metric("after.validation_loss")) == 1


def test_the_environment_asks_for_what_this_project_asks_for() -> None:
    dependencies = yaml.safe_load(CONDA_FILE.read_text())["dependencies"]
    (pip,) = (each["pip"] for each in dependencies if isinstance(each, dict))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [*declared["dependencies"], *declared["optional-dependencies"]["local"]]
    ranges = {each.name: each.specifier for each in map(Requirement, own)}
    wanted = {each.name: each.specifier for each in map(Requirement, pip)}
    same = wanted.keys() - {"torch", "mlflow-skinny", *NOT_HERE}
    assert {name: wanted[name] for name in same} == {name: ranges[name] for name in same}


@pytest.mark.skipif(not SPECS, reason="AZURE_SPECS_DIR is not set")
def test_azures_own_files_take_every_body(azure: AzureEmulator, job: Job) -> None:
    assert validate(azure.writes, Path(SPECS)).problems == []
