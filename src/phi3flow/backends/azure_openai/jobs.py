"""Fine-tunes by Azure OpenAI's API: planned, found again by all that decides them, submitted once, and described."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi3flow.azure.openai.jobs import status_of
from phi3flow.azure.openai.place import OpenAIPlace
from phi3flow.azure.openai.service import OpenAIService
from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.openai_checks import check_model
from phi3flow.azure.workspace.jobs import CANCELED, FAILED, JobProgress
from phi3flow.backends.azure_openai import BACKEND
from phi3flow.backends.azure_openai.data import TrainingFiles, describe, ensure_files, file_name, read_files
from phi3flow.backends.backend import FineTuneRequest, JobResult, PlannedJob
from phi3flow.backends.job_names import check_suffix, name_job
from phi3flow.backends.told_training import keep_training
from phi3flow.errors import AzureError, ConfigError, DatasetError
from phi3flow.project.state import JobState
from phi3flow.text import duration
from phi3flow.training.results_file import read_results
from phi3flow.training.service_curves import ServiceCurves

DEFAULT_TRAINING_TYPE = "GlobalStandard"
"""What every model takes; the training may run in any region."""
_NAMES = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate_multiplier",
}
"""The service's names of ours."""
_CHECKED_ONLY = "max_seq_length"
_OTHERS_TOLD = 5
_NO_CURVES = ServiceCurves(steps=[], validation=[])


@dataclass(frozen=True, kw_only=True)
class PlannedOpenAIJob(PlannedJob):
    """A job as it would be submitted; ``fingerprint`` is of all that decides its result."""

    files: TrainingFiles
    base_model: str
    hyperparameters: Mapping[str, float | int]
    seed: int
    suffix: str | None
    training_type: str
    fingerprint: str


def plan_job(
    request: FineTuneRequest, place: OpenAIPlace, *, noted: Sequence[JobState], uploads: Path
) -> PlannedOpenAIJob:
    """Say which job a fine-tune would be; its files are written to ``uploads`` as the service takes them.

    What is wrong with the request and its files is found before anybody is asked.

    Raises DatasetError for a file that the service would not take, ConfigError for what it does not know,
    PreflightError for a model that cannot be fine-tuned in the resource.
    """
    check_suffix(request.suffix)
    hyperparameters = _hyperparameters(request)
    model = request.model or place.model
    if model is None:
        raise ConfigError(
            "which model? --model, openai_model in phi3flow.toml or AZURE_OPENAI_MODEL names one, such as "
            "gpt-4.1-mini-2025-04-14 (who fine-tuned it before 2026-10) or Ministral-3B (anybody)"
        )
    planned = _draft(request, model, hyperparameters, read_files(request, model, uploads))
    return _as_found(planned, place.service, noted) or _as_new(planned, place.service)


def _draft(
    request: FineTuneRequest, model: str, hyperparameters: Mapping[str, float | int], files: TrainingFiles
) -> PlannedOpenAIJob:
    """Return the job of a request as its content names it, before it is looked for."""
    training_type = request.training_type or DEFAULT_TRAINING_TYPE
    decisive = {
        "model": model,
        "hyperparameters": hyperparameters,
        "seed": request.seed,
        "suffix": request.suffix,
        "training_type": training_type,
        **{role: file.sha256 for role, file in files.files.items()},
    }
    return PlannedOpenAIJob(
        name=name_job(model, decisive),
        model=model,
        status=None,
        files=files,
        base_model=model,
        hyperparameters=hyperparameters,
        seed=request.seed,
        suffix=request.suffix,
        training_type=training_type,
        fingerprint=hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
    )


def send_job(planned: PlannedOpenAIJob, service: OpenAIService, noted: Sequence[JobState]) -> str:
    """Upload the files that are not there yet, submit the job, and return its id. Raises AzureError, DatasetError."""
    ids = ensure_files(service, planned.files.files)
    method = {"type": "supervised", "supervised": {"hyperparameters": dict(planned.hyperparameters)}}
    body = {
        "model": planned.base_model,
        "training_file": ids["train"],
        "validation_file": ids["validation"],
        "method": method,
        "seed": planned.seed,
        **({"suffix": planned.suffix} if planned.suffix else {}),
    }
    extra = {"trainingType": planned.training_type}
    job = service.create_job(body, extra, find=lambda: find_job(planned, service, noted))
    return str(job["id"])


def find_job(planned: PlannedOpenAIJob, service: OpenAIService, noted: Sequence[JobState]) -> dict[str, Any] | None:
    """Return the newest job of the same content that has not failed, None where there is none.

    The service names jobs by itself, and fills in what was left to it: of two that look alike, one that was noted with
    another fingerprint is another. One that was noted with this fingerprint is the same, also where its files are gone.
    """
    names = {file_name(role, file): role for role, file in planned.files.files.items()}
    roles = {str(file["id"]): names[file["filename"]] for file in service.files() if file.get("filename") in names}
    fingerprints = {job.name: job.fingerprint for job in noted if job.fingerprint}
    for job in service.jobs():
        if status_of(job) in (FAILED, CANCELED):
            continue
        fingerprint = fingerprints.get(str(job["id"]))
        if fingerprint == planned.fingerprint or (fingerprint is None and _is_alike(planned, job, roles)):
            return job
    return None


def describe_end(end: JobProgress, job: Mapping[str, Any], service: OpenAIService, project: Path) -> JobResult:
    """Return the result of a job that has completed, and keep its curves as training.json."""
    curves, missing = _read_curves(job, service)
    took_s = _took_s(job)
    training = keep_training(
        project,
        end.name,
        curves,
        backend=BACKEND,
        base_model=str(job.get("model")),
        parameters=_parameters(job),
        data={"training_file": str(job.get("training_file")), "validation_file": str(job.get("validation_file"))},
        started_at=_time(job.get("created_at")),
        duration_s=took_s,
        billed_tokens=job.get("trained_tokens"),
    )
    metrics = curves.at_the_end() or dict(end.metrics)
    checkpoints = [str(row.get("fine_tuned_model_checkpoint")) for row in service.checkpoints(end.name)]
    lines = [
        f"{end.name}: {end.status}{f', after {duration(took_s)}' if took_s else ''}",
        *(f"{name}: {value:.4g}" for name, value in sorted(metrics.items())),
        f"model: {job.get('fine_tuned_model')}",
        *([f"checkpoints: {', '.join(checkpoints)}"] if checkpoints else []),
        *([f"its curves: phi3flow report RUN --training {training}"] if training else [missing] if missing else []),
    ]
    return JobResult(
        backend=BACKEND,
        job=end.name,
        status=end.status,
        output=output_of(end.name),
        metrics=metrics,
        checkpoints=checkpoints,
        training=str(training) if training else None,
        summary="\n".join(lines),
    )


def output_of(job: str) -> str:
    """Return where a job's model is named."""
    return f"fine_tuning/jobs/{job}"


def job_of(output: str) -> str:
    """Return the job of an output."""
    return output.rpartition("/")[2]


def fine_tuned_model(job: Mapping[str, Any]) -> str:
    """Return the model that a completed job made. Raises AzureError where Azure names none."""
    name = job.get("fine_tuned_model")
    if not name:
        raise AzureError(f"job {job.get('id')} has completed, and Azure names no model of it")
    return str(name)


def _as_found(planned: PlannedOpenAIJob, service: OpenAIService, noted: Sequence[JobState]) -> PlannedOpenAIJob | None:
    job = find_job(planned, service, noted)
    if job is None:
        return None
    return replace(planned, name=str(job["id"]), status=status_of(job))


def _as_new(planned: PlannedOpenAIJob, service: OpenAIService) -> PlannedOpenAIJob:
    jobs = service.jobs()
    findings = refuse([*check_model(planned.base_model, service, jobs)])
    said = [
        *describe(planned.files),
        *map(str, findings),
        *_elsewhere(planned.training_type),
        *_other_jobs(jobs),
    ]
    return replace(planned, cost=_cost(planned), warnings=tuple(said))


def _elsewhere(training_type: str) -> Iterator[str]:
    if training_type != "Standard":
        yield f"{training_type}: Azure may train in any region; --training-type Standard stays in the resource's"


def _other_jobs(jobs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which jobs the resource has already: they run, and count, beside the new one."""
    if jobs:
        named = ", ".join(f"{job['id']} ({status_of(job)})" for job in jobs[:_OTHERS_TOLD])
        more = f", and {len(jobs) - _OTHERS_TOLD:,} more" if len(jobs) > _OTHERS_TOLD else ""
        yield f"other jobs of the resource: {named}{more}"


def _cost(planned: PlannedOpenAIJob) -> Callable[[], str]:
    tokens, epochs = planned.files.trained_tokens, planned.hyperparameters.get("n_epochs")
    amount = "" if tokens is None else f": about {tokens:,} tokens an epoch"
    times = f", {epochs} epochs" if epochs else ", as many epochs as the service chooses"
    return lambda: f"Azure's own machines, billed by the trained token{amount}{times}"


def _hyperparameters(request: FineTuneRequest) -> dict[str, float | int]:
    """Return the hyperparameters under the service's names. Raises ConfigError for what it does not take."""
    if "learning_rate" in request.hyperparameters:
        raise ConfigError(
            f"--learning-rate does not go with --backend {BACKEND}: the service takes a factor of its own rate, "
            "--learning-rate-multiplier"
        )
    parameters: dict[str, float | int] = {}
    for name, value in request.hyperparameters.items():
        if name == _CHECKED_ONLY:
            continue
        if name not in _NAMES or isinstance(value, str):
            flags = ", ".join(f"--{known.replace('_', '-')}" for known in _NAMES)
            raise ConfigError(f"--{name.replace('_', '-')} does not go with --backend {BACKEND}, which takes {flags}")
        parameters[_NAMES[name]] = value
    return parameters


def _is_alike(planned: PlannedOpenAIJob, job: Mapping[str, Any], roles: Mapping[str, str]) -> bool:
    method = (job.get("method") or {}).get("supervised") or {}
    settings = {**(job.get("hyperparameters") or {}), **(method.get("hyperparameters") or {})}
    return (
        str(job.get("model")).lower() == planned.base_model.lower()
        and roles.get(str(job.get("training_file"))) == "train"
        and roles.get(str(job.get("validation_file"))) == "validation"
        and job.get("seed") in (planned.seed, None)
        and (job.get("suffix") or None) == planned.suffix
        and _type_word(job.get("trainingType") or planned.training_type) == _type_word(planned.training_type)
        and all(settings.get(name) == value for name, value in planned.hyperparameters.items())
    )


def _type_word(training_type: str) -> str:
    """Return a training type as it compares: the service says globalStandard for GlobalStandard, dataZone for two."""
    word = training_type.lower()
    return word.removesuffix("standard") or word


def _parameters(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's hyperparameters; -1 is the service's word for its own choice."""
    settings = job.get("hyperparameters") or {}
    return {name: "auto" if value in (-1, None) else value for name, value in settings.items()}


def _read_curves(job: Mapping[str, Any], service: OpenAIService) -> tuple[ServiceCurves, str | None]:
    """Return a job's curves, and why there are none."""
    for file_id in job.get("result_files") or []:
        content = service.content(str(file_id))
        if content is None:
            return _NO_CURVES, f"its results file {file_id} is gone: there are no curves"
        try:
            return read_results(content, source=f"results file {file_id}"), None
        except DatasetError as error:
            return _NO_CURVES, f"there are no curves: {error}"
    return _NO_CURVES, "the service left no results file: there are no curves"


def _took_s(job: Mapping[str, Any]) -> float:
    """Return how long a job took, 0 where Azure does not say."""
    begun, finished = job.get("created_at"), job.get("finished_at")
    return max(0.0, float(finished - begun)) if begun and finished else 0.0


def _time(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
