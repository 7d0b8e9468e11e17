"""Fine-tunes as a service: planned under a name that finds them again, submitted once, and described at their end.

Body and states: Microsoft.MachineLearningServices 2024-10-01-preview, FineTuningJob. azure-ai-ml 1.32 raises
UnboundLocalError for a job without validation data; it is not needed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.serverless_checks import check_model, check_project, look_up_model
from phi3flow.azure.workspace.catalog import CatalogAsset
from phi3flow.azure.workspace.data_assets import data_id, ensure_data
from phi3flow.azure.workspace.jobs import JobProgress, Jobs
from phi3flow.azure.workspace.serverless_endpoints import SERVERLESS_VERSION
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.backend import FineTuneRequest, JobResult, PlannedJob
from phi3flow.backends.job_names import check_suffix, job_tags, name_job, next_attempt
from phi3flow.backends.serverless import BACKEND
from phi3flow.datasets.service_files import ServiceFile, write_for_service
from phi3flow.errors import ConfigError
from phi3flow.storage.jsonl import file_sha256
from phi3flow.text import plural

OUTPUT = "registered_model"
MESSAGE_KEYS = ("role", "content")
CHECKPOINTS = "checkpoints"
"""The folder of a job's artifacts that its checkpoints are in."""
_BOUNDS = {"epochs": (1, 10), "batch_size": (1, 32)}
"""What the service takes (learn.microsoft.com: fine-tune-serverless, 2026-01)."""
_NAMES = {
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "learning_rate": "learning_rate",
}
"""Its trainer's names of ours."""


@dataclass(frozen=True, kw_only=True)
class PlannedServerlessJob(PlannedJob):
    """A job as it would be submitted, with its files as they would be uploaded, by what they are for."""

    files: Mapping[str, ServiceFile]
    properties: Mapping[str, Any]


def fine_tuning_jobs(project: Workspace) -> Jobs:
    """Return the project's jobs, asked in a version that knows fine-tunes."""
    return Jobs(project, SERVERLESS_VERSION)


def plan_job(request: FineTuneRequest, project: Workspace, uploads: Path) -> PlannedServerlessJob:
    """Say which job a fine-tune would be; its files are written to ``uploads`` as the service takes them, each in a
    folder of its own content's, so that no other plan changes them before they are sent.

    Raises DatasetError for a malformed file, ConfigError for a hyperparameter or model that the service does not take,
    PreflightError where a job that is not there yet could not run.
    """
    check_suffix(request.suffix)
    parameters = _hyperparameters(request)
    files = {
        role: write_for_service(path, uploads / file_sha256(path)[:16] / f"{role}.jsonl", message_keys=MESSAGE_KEYS)
        for role, path in request.files.items()
    }
    if request.model:
        project = project.with_model(request.model)
    model = look_up_model(project)
    data = {role: data_id(project, file.path, role=role) for role, file in files.items()}
    decisive = {"model": model.id, "parameters": parameters, **data, "seed": request.seed}
    drafted = name_job(model.name, decisive, suffix=request.suffix)
    name, status = next_attempt(drafted.lower(), fine_tuning_jobs(project).status)
    is_new = status is None
    warnings = (
        refuse([*check_project(project, "fine-tuned"), *check_model(model, project, "fine-tuned")]) if is_new else []
    )
    return PlannedServerlessJob(
        name=name,
        model=f"{model.name}:{model.version}",
        status=status,
        cost=(lambda: _cost(files["train"], request)) if is_new else None,
        warnings=(*_lost_weights(files), *map(str, warnings)) if is_new else (),
        files=files,
        properties=_describe(name, model, data, parameters, job_tags(request, model, recipe=BACKEND)),
    )


def upload_files(planned: PlannedServerlessJob, project: Workspace) -> None:
    """Upload the files that are not there yet. Raises AzureError."""
    for role, file in planned.files.items():
        ensure_data(project, file.path, role=role)


def send_job(planned: PlannedServerlessJob, project: Workspace) -> None:
    """Submit the job, whose files are there. Raises AzureError."""
    project.arm.put(f"{project.id}/jobs/{planned.name}", SERVERLESS_VERSION, {"properties": dict(planned.properties)})


def model_name(name: str, job: Mapping[str, Any]) -> str:
    """Return what a job's model is called, of the job's properties. Raises ConfigError for one that makes none."""
    model = ((job.get("outputs") or {}).get(OUTPUT) or {}).get("assetName")
    if not model:
        raise ConfigError(f"job {name} is no fine-tune as a service: it is of the type {job.get('jobType')}")
    return str(model)


def output_of(job: str) -> str:
    """Return where a job leaves its model."""
    return f"azureml://jobs/{job}/outputs/{OUTPUT}"


def describe_end(end: JobProgress, model: str, checkpoints: list[str], curves: Path | None) -> JobResult:
    """Return the result of a job that has ended; ``curves`` is the folder of its training.json."""
    metrics = [f"{name}: {value:.4g}" for name, value in sorted(end.metrics.items())]
    kept = [f"checkpoints: {', '.join(checkpoints)}"] if checkpoints else []
    shown = [f"its curves: phi3flow report RUN --training {curves}"] if curves else []
    return JobResult(
        backend=BACKEND,
        job=end.name,
        status=end.status,
        output=output_of(end.name),
        metrics=dict(end.metrics),
        checkpoints=checkpoints,
        training=str(curves) if curves else None,
        summary="\n".join([f"{end.name}: {end.status}", *metrics, f"model: {model}:1", *kept, *shown]),
    )


def _hyperparameters(request: FineTuneRequest) -> dict[str, str]:
    """Return the hyperparameters under the trainer's names, as texts. Raises ConfigError for what it does not take."""
    parameters = {}
    for name, value in request.hyperparameters.items():
        flag = f"--{name.replace('_', '-')}"
        if name not in _NAMES:
            raise ConfigError(f"{flag} does not go with --backend {BACKEND}, which takes {_flags()}")
        low, high = _BOUNDS.get(name, (None, None))
        if low is not None and high is not None and not low <= float(value) <= high:
            raise ConfigError(f"{flag} {value}: the service takes {low} to {high}")
        if not 0 < float(value) < math.inf:
            raise ConfigError(f"{flag} {value}: must be above 0")
        parameters[_NAMES[name]] = f"{Decimal(str(value)):f}"
    return parameters


def _flags() -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in _NAMES)


def _describe(
    name: str, model: CatalogAsset, data: Mapping[str, str], parameters: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return the job's properties, as the service takes them."""
    return {
        "jobType": "FineTuning",
        "displayName": name,
        "experimentName": "phi3flow-fine-tune",
        "tags": dict(tags),
        "fineTuningDetails": {
            "modelProvider": "Custom",
            "taskType": "ChatCompletion",
            "model": {"jobInputType": "mlflow_model", "uri": model.id},
            "trainingData": {"jobInputType": "uri_file", "uri": data["train"]},
            "validationData": {"jobInputType": "uri_file", "uri": data["validation"]},
            "hyperParameters": dict(parameters),
        },
        "outputs": {OUTPUT: {"jobOutputType": "mlflow_model", "assetName": name}},
        "queueSettings": {"jobTier": "Standard"},
    }


def _cost(train: ServiceFile, request: FineTuneRequest) -> str:
    epochs = int(request.hyperparameters.get("epochs", 1))
    return (
        f"Azure's own machines, billed by the trained token ({plural(train.examples, 'example')}, "
        f"{plural(epochs, 'epoch')})"
    )


def _lost_weights(files: Mapping[str, ServiceFile]) -> list[str]:
    lost = sum(file.weights_lost for file in files.values())
    return (
        [f"{plural(lost, 'message')} of weight 0: the service does not know weights and learns them too"]
        if lost
        else []
    )
