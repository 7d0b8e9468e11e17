"""Serverless fine-tuning: jobs that need no compute and leave a model behind, which can be deployed without one."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.api_versions import knows_fine_tuning
from tests.azure.emulator.assets import Assets
from tests.azure.emulator.fine_tuning_rules import FINE_TUNING_JOB, FineTuningRules, registered_models
from tests.azure.emulator.jobs import ENDED, Job, JobKind, Jobs
from tests.azure.emulator.messages import ServiceError
from tests.azure.emulator.resource_manager import ResourceManager

_STAGES = ("NotStarted", "Queued", "Preparing", "Running", "Finalizing", "Completed")


class FineTuningJobs:
    """The jobs of that type, among ``jobs``; the models that they register remember in ``hidden`` what they are of."""

    def __init__(self, arm: ResourceManager, assets: Assets, jobs: Jobs, rules: FineTuningRules) -> None:
        self._resources, self._assets, self._jobs, self._rules = arm.resources, assets, jobs, rules
        jobs.kinds[FINE_TUNING_JOB] = JobKind(_STAGES, self._check, jobs.add_outputs, knows_fine_tuning)
        jobs.on_end.append(self._register)

    def _check(self, workspace: str, properties: dict[str, Any]) -> None:
        self._rules.check(workspace, properties)
        for job in self._jobs.all:
            if not _is_ours(job) or job.status in ENDED or job.workspace.lower() != workspace.lower():
                continue
            for name in registered_models(job.properties).values():
                if name in registered_models(properties).values():
                    message = f"The model name '{name}' is taken by job {job.name}, which has not ended."
                    raise ServiceError(409, "UserError", message)

    def _register(self, job: Job) -> None:
        if not _is_ours(job) or job.status != "Completed":
            return
        base = job.properties["fineTuningDetails"]["model"]["uri"].partition("/versions/")[0]
        for output, name in registered_models(job.properties).items():
            model = {
                "modelUri": f"azureml://jobs/{job.name}/outputs/{output}",
                "modelType": "mlflow_model",
                "tags": {"baseModelId": base},
                "properties": {"baseModelId": base, "fineTuningJob": job.name},
            }
            kept = self._assets.add_model(job.workspace, name, model)
            self._resources.hidden[kept["id"].lower()] = {"base_model": base}


def _is_ours(job: Job) -> bool:
    return bool(job.properties["jobType"] == FINE_TUNING_JOB)
