"""The emulator's jobs behave as the service's, seen through azure-ai-ml: fine-tuning, commands, flows on a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import Input, MLClient, Output, PyTorchDistribution, command, dsl, load_component
from azure.ai.ml.entities import Command, Environment, Model, PipelineJob
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.ml_workspace import (
    FLOW,
    WORKSPACE,
    bearer,
    emulated_workspace,
    ml_client,
    registry_client,
    upload,
    uploads,
)

pytestmark = pytest.mark.slow

PHI3 = "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
TRACKING = f"https://eastus2.api.azureml.ms/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow"


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with emulated_workspace(tmp_path, monkeypatch) as emulator:
        yield emulator


@pytest.fixture
def ml(azure: AzureEmulator) -> MLClient:
    return ml_client()


@pytest.fixture
def registry(azure: AzureEmulator) -> MLClient:
    return registry_client()


def fine_tuning(ml: MLClient, registry: MLClient, name: str = "ft-1", **inputs: Any) -> PipelineJob:
    """Return the job that fine-tunes Phi-3 on an uploaded file."""
    component = registry.components.get("chat_completion_pipeline", label="latest")
    model = registry.models.get("Phi-4-mini-instruct", label="latest")
    data = upload(ml)
    computes = {f"compute_{part}": "gpu-cluster" for part in ("model_import", "preprocess", "finetune")}
    given: dict[str, Any] = {
        "mlflow_model_path": Input(type="mlflow_model", path=model.id),
        "train_file_path": Input(type="uri_file", path=data.id),
        "validation_file_path": Input(type="uri_file", path="azureml:train:1"),
        **computes,
        "compute_model_evaluation": "gpu-cluster",
        "num_train_epochs": 2,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        **inputs,
    }

    @dsl.pipeline
    def build() -> dict[str, Any]:
        node = component(**{key: value for key, value in given.items() if value is not None})
        return {"trained_model": node.outputs.mlflow_model_folder}

    job: PipelineJob = build()
    job.name, job.experiment_name, job.tags = name, "phi3", {"by": "me"}
    return job


def model_of(job: str, output: str = "trained_model") -> Model:
    return Model(name="phi3", path=f"azureml://jobs/{job}/outputs/{output}", type="mlflow_model", tags={"job": job})


def run_to_the_end(ml: MLClient, job: PipelineJob | Command) -> None:
    ml.jobs.create_or_update(job)
    ml.jobs.stream(job.name)


def test_fine_tuning_goes_through_its_states_to_a_model(
    azure: AzureEmulator, ml: MLClient, registry: MLClient, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert job.status == "NotStarted"
    with pytest.raises(HttpResponseError, match="cannot be registered: the job is NotStarted"):
        ml.models.create_or_update(model_of("ft-1"))
    seen = [ml.jobs.get("ft-1").status for _ in range(4)]
    assert seen == ["NotStarted", "Preparing", "Preparing", "Running"]
    ml.jobs.stream("ft-1")
    assert "Streaming logs/azureml/executionlogs.txt" in capsys.readouterr().out
    done = ml.jobs.get("ft-1")
    assert done.status == "Completed"
    assert done.outputs["trained_model"].path.startswith("azureml://datastores/workspaceblobstore/paths/azureml/")
    (step,) = ml.jobs.list(parent_job_name="ft-1")
    assert step.status == "Completed"
    assert [each.display_name for each in ml.jobs.list(parent_job_name=step.name)][-1] == "chat_completion_finetune"
    with pytest.raises(HttpResponseError, match="has no output 'other'"):
        ml.models.create_or_update(model_of("ft-1", "other"))
    model = ml.models.create_or_update(model_of("ft-1"))
    assert (model.version, model.job_name, list(model.flavors)) == ("1", "ft-1", ["python_function"])
    ml.jobs.download("ft-1", download_path="out", output_name="trained_model")
    assert Path("out/named-outputs/trained_model/MLmodel").is_file()
    ml.models.download("phi3", "1", "model")
    assert list(Path("model").rglob("MLmodel"))


def test_fine_tuning_logs_metrics_as_it_runs(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    def history(key: str) -> list[float]:
        query = {"run_id": "ft-1", "metric_key": key}
        answer = requests.get(f"{TRACKING}/metrics/get-history", query, headers=bearer(), timeout=10).json()
        return [row["value"] for row in answer["metrics"]]

    ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert history("train_loss") == []
    while ml.jobs.get("ft-1").status != "Running":
        pass
    assert 0 < len(history("train_loss")) < 20
    ml.jobs.stream("ft-1")
    losses = history("train_loss")
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert len(history("eval_loss")) == 2
    assert history("learning_rate")[0] < 1e-4
    run = requests.get(f"{TRACKING}/runs/get", {"run_id": "ft-1"}, headers=bearer(), timeout=10).json()["run"]
    assert run["info"]["status"] == "FINISHED"
    none = requests.get(f"{TRACKING}/runs/get", {"run_id": "none"}, headers=bearer(), timeout=10)
    assert (none.status_code, none.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"apply_lora": True}, "'True' is none of true, false"),
        ({"num_train_epochs": 0}, "0 is less than 1"),
        ({"max_seq_length": 1.5}, "'1.5' is no integer"),
        ({"lr_scheduler_type": "step"}, "'step' is none of linear"),
        ({"train_file_path": None}, "one of train_file_path and train_mltable_path is needed"),
        ({"train_file_path": Input(type="uri_file", path="azureml:other:1")}, "data/other/versions/1 could not be"),
        ({"train_file_path": Input(type="uri_folder", path="azureml:train:1")}, "uri_folder was given for an input of"),
        ({"compute_preprocess": "other-cluster"}, "Unknown compute target 'other-cluster'"),
        ({"compute_finetune": "cpu-cluster"}, "not in the model's finetune_compute_allow_list"),
        ({"compute_finetune": "serverless"}, "Standard_nc24rs_v3' is retired"),
        ({"number_of_gpu_to_use_finetuning": 2}, "has 1 GPU"),
        ({"num_nodes_finetune": 2}, "the cluster has at most 1"),
    ],
)
def test_fine_tuning_that_cannot_run_is_refused(
    ml: MLClient, registry: MLClient, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(HttpResponseError, match=message):
        ml.jobs.create_or_update(fine_tuning(ml, registry, **inputs))


def test_fine_tuning_without_quota_is_refused(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    azure.world.quota["Standard NCADSA100v4 Family"] = 0
    with pytest.raises(HttpResponseError, match="has a Standard NCADSA100v4 family vCPU quota of 0"):
        ml.jobs.create_or_update(fine_tuning(ml, registry))


def test_failed_job_says_why(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    azure.world.job_failure = "CUDA out of memory."
    with pytest.raises(JobException, match="Pipeline has some failed steps"):
        run_to_the_end(ml, fine_tuning(ml, registry))
    assert ml.jobs.get("ft-1").status == "Failed"
    with pytest.raises(HttpResponseError, match="the job is Failed"):
        ml.models.create_or_update(model_of("ft-1"))


def test_job_is_canceled_even_if_nobody_waits(ml: MLClient, registry: MLClient) -> None:
    ml.jobs.create_or_update(fine_tuning(ml, registry))
    ml.jobs.begin_cancel("ft-1", polling=False)
    assert ml.jobs.get("ft-1").status == "Canceled"
    with pytest.raises(HttpResponseError, match="it is Canceled"):
        ml.jobs.begin_cancel("ft-1").result()


def test_job_keeps_its_definition(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    for _ in range(2):
        ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert [each.name for each in ml.jobs.list()] == ["ft-1"]
    with pytest.raises(HttpResponseError, match="the existing job's Jobs cannot be changed"):
        ml.jobs.create_or_update(fine_tuning(ml, registry, num_train_epochs=3))
    tagged = fine_tuning(ml, registry)
    tagged.tags = {"more": "yes"}
    assert ml.jobs.create_or_update(tagged).tags == {"by": "me", "more": "yes"}
    ml.jobs.archive("ft-1")
    assert list(ml.jobs.list()) == []
    with pytest.raises(HttpResponseError, match="The job name 'a b' is not valid"):
        ml.jobs.create_or_update(fine_tuning(ml, registry, "a b"))


def command_job(name: str, **changed: Any) -> Command:
    Path("code").mkdir(exist_ok=True)
    Path("code/run.py").write_text("print('hello')\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "name": name,
        "code": "code",
        "command": "python run.py --data ${{inputs.data}} --epochs ${{inputs.epochs}} --out ${{outputs.out}}",
        "environment": Environment(image="mcr.microsoft.com/azureml/minimal:1"),
        "compute": "cpu-cluster",
        "inputs": {"data": Input(type="uri_file", path="azureml:train:1"), "epochs": 3},
        "outputs": {"out": Output(type="uri_folder")},
        **changed,
    }
    return command(**settings)


def test_command_job_runs_its_code(azure: AzureEmulator, ml: MLClient) -> None:
    upload(ml)
    azure.jobs.make_output = lambda job, output: {"answers.jsonl": f"{job.name} {output}".encode()}
    run_to_the_end(ml, command_job("cmd-1"))
    ml.jobs.download("cmd-1", download_path="out", output_name="out")
    assert Path("out/named-outputs/out/answers.jsonl").read_text(encoding="utf-8") == "cmd-1 out"
    ml.jobs.download("cmd-1", download_path="logs")
    assert "Completed" in Path("logs/artifacts/user_logs/std_log.txt").read_text(encoding="utf-8")
    azure.requests.clear()
    ml.jobs.create_or_update(command_job("cmd-2"))
    assert uploads(azure) == []
    with pytest.raises(HttpResponseError, match="could not be found"):
        ml.jobs.create_or_update(command_job("cmd-3", environment="azureml:other:1"))
    with pytest.raises(HttpResponseError, match=r"refers to outputs\.other"):
        ml.jobs.create_or_update(command_job("cmd-4", command="echo ${{outputs.other}}", outputs={}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"instance_count": 2}, "resources.instanceCount: must be from 1 to 1, not 2"),
        (
            {"distribution": PyTorchDistribution(process_count_per_instance=2)},
            "processCountPerInstance: must be from 1",
        ),
        (
            {"inputs": {"data": Input(type="custom_model", path=PHI3), "epochs": 3}},
            "is a mlflow_model, and custom_model",
        ),
    ],
)
def test_command_job_that_cannot_run_is_refused(ml: MLClient, changed: dict[str, Any], message: str) -> None:
    upload(ml)
    with pytest.raises(HttpResponseError, match=message):
        ml.jobs.create_or_update(command_job("cmd-1", compute="gpu-cluster", **changed))


def test_flow_runs_on_a_cluster(azure: AzureEmulator, ml: MLClient) -> None:
    upload(ml, '{"question": "a"}\n{"question": "b"}\n', name="lines")
    Path("flow/.promptflow").mkdir(parents=True)
    Path("flow/flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    Path("flow/echo.py").write_text("def echo(question): return question\n", encoding="utf-8")
    Path("flow/.promptflow/flow.tools.json").write_text('{"package": {}, "code": {}}', encoding="utf-8")

    def job(name: str, **columns: str) -> PipelineJob:
        flow = load_component("flow/flow.dag.yaml")

        @dsl.pipeline
        def build() -> dict[str, Any]:
            node = flow(data=Input(type="uri_file", path="azureml:lines:1"), **columns)
            node.compute, node.mini_batch_size, node.max_concurrency_per_instance = "cpu-cluster", 2, 4
            node.resources, node.retry_settings = {"instance_count": 1}, {"max_retries": 1, "timeout": 60}
            return {"flow_outputs": node.outputs.flow_outputs}

        pipeline: PipelineJob = build()
        pipeline.name = name
        return pipeline

    run_to_the_end(ml, job("batch-1", question="${data.question}"))
    ml.jobs.download("batch-1", download_path="out", output_name="flow_outputs")
    text = Path("out/named-outputs/flow_outputs/parallel_run_step.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows == [{"line_number": 0, "question": "a"}, {"line_number": 1, "question": "b"}]
    azure.requests.clear()
    ml.jobs.create_or_update(job("batch-2", question="${data.question}"))
    assert uploads(azure) == []
    with pytest.raises(HttpResponseError, match="has no input 'answer'"):
        ml.jobs.create_or_update(job("batch-3", answer="${data.answer}"))
