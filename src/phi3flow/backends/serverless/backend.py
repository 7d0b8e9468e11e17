"""Models as a service as a backend: an AI Foundry project's fine-tuning jobs, its models and serverless endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.azure.workspace.jobs import JobProgress, Jobs
from phi3flow.azure.workspace.models import JOB_TAG, Models
from phi3flow.azure.workspace.serverless_endpoints import ServerlessEndpoint, base_url, list_serverless, state_of
from phi3flow.azure.workspace.workspace import Workspace, open_workspace
from phi3flow.backends.backend import (
    DeletionRequest,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    PlannedDeletion,
    refuse_flags,
)
from phi3flow.backends.cloud_backend import AZURE_OPENAI_ALONE, ServiceBackend, not_as_a_service
from phi3flow.backends.coming_up import EndpointDeployer
from phi3flow.backends.serverless import BACKEND
from phi3flow.backends.serverless.deployments import PlannedEndpoint, ServerlessDeployer, plan_endpoint
from phi3flow.backends.serverless.endpoints import examine_all, no_endpoint, plan_deletion
from phi3flow.backends.serverless.jobs import (
    CHECKPOINTS,
    PlannedServerlessJob,
    describe_end,
    fine_tuning_jobs,
    model_name,
    output_of,
    plan_job,
    send_job,
    upload_files,
)
from phi3flow.backends.told_training import keep_training
from phi3flow.errors import AzureError, ConfigError, DeploymentError
from phi3flow.project.paths import UPLOADS
from phi3flow.project.state import EndpointStatus, JobState, ModelState
from phi3flow.training.service_curves import read_histories

FIRST_VERSION = "1"
"""Of a model: each job makes one of a name of its own."""
_REFUSED = {
    **not_as_a_service(BACKEND),
    **AZURE_OPENAI_ALONE,
    "traffic": f"does not go with --backend {BACKEND}: an endpoint is its only deployment",
}
_REFUSED_DELETIONS = {"deployment": f"does not go with --backend {BACKEND}: an endpoint is its only deployment"}


class ServerlessBackend(ServiceBackend[PlannedServerlessJob, PlannedEndpoint]):
    """The AI Foundry project of the phi3flow.toml in a project's folder."""

    name = BACKEND

    @cached_property
    def _project(self) -> Workspace:
        return open_workspace(self._folder).of_project

    @property
    def _jobs(self) -> Jobs:
        return fine_tuning_jobs(self._project)

    def _output_of(self, job: str) -> str:
        return output_of(job)

    def plan(self, request: FineTuneRequest) -> PlannedServerlessJob:
        """See Backend, and ``plan_job``."""
        refuse_flags(request, _REFUSED)
        return plan_job(request, self._project, self._folder / UPLOADS / BACKEND)

    def submit(self, planned: PlannedServerlessJob) -> JobState:
        """See Backend. Files are uploaded where they are not there yet; a job is noted before it is sent.

        It is forgotten where Azure refuses it: whatever else ends the sending, the job may be there.
        """
        if planned.status is not None:
            return self._noted_jobs.note(planned.name, planned.status)
        upload_files(planned, self._project)
        noted = self._noted_jobs.note(planned.name, "NotStarted")
        try:
            send_job(planned, self._project)
        except AzureError as error:
            if error.status is not None and error.status < 500:
                self._state.forget_job(planned.name)
            raise
        return noted

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """See Backend, and ``Jobs.follow``. The loss curves are kept as training.json."""
        end = self._noted_jobs.follow(job, on_progress)
        properties = self._jobs.need(job)
        training = self._keep_training(end, properties)
        return describe_end(end, model_name(job, properties), self._jobs.artifacts(job, CHECKPOINTS), training)

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. The job has registered its model; its tags are put on it, to say what it was made of.

        Raises ConfigError for a ``name``: an endpoint takes the model under the name that the job gave it.
        """
        if name is not None:
            raise ConfigError(f"--name does not go with --backend {BACKEND}: fine-tune --suffix names the model")
        job_name = self._noted_jobs.need_completed(job)
        properties = self._jobs.need(job_name)
        tags = {**(properties.get("tags") or {}), **({"flow_version": flow_version} if flow_version else {})}
        model, models = model_name(job_name, properties), Models(self._project)
        if models.read(model, FIRST_VERSION) is None:
            raise ConfigError(
                f"the model {model}:{FIRST_VERSION} of job {job_name} was deleted; `phi3flow fine-tune --backend "
                f"{BACKEND}` with another --suffix makes it anew"
            )
        models.tag(model, FIRST_VERSION, {**tags, JOB_TAG: job_name})
        return self._note_model(model, FIRST_VERSION, job_name)

    def plan_deployment(self, request: DeploymentRequest) -> PlannedEndpoint:
        """See Backend, and ``plan_endpoint``."""
        refuse_flags(request, _REFUSED)
        return plan_endpoint(self._project, request, latest=self._latest_model())

    def _deployer(self, planned: PlannedEndpoint, on_note: Callable[[str], None]) -> EndpointDeployer:
        return ServerlessDeployer(self._project, planned, on_note)

    def _asked_as(self, planned: PlannedEndpoint) -> str | None:
        return None

    def plan_deletion(self, request: DeletionRequest) -> PlannedDeletion | None:
        """See Backend, and ``plan_deletion``."""
        refuse_flags(request, _REFUSED_DELETIONS)
        return plan_deletion(self._project, request, self._state.endpoints(), self._state.models())

    def undeploy(self, planned: PlannedDeletion, *, on_note: Callable[[str], None] = lambda _: None) -> None:
        """See Backend. Nothing is forgotten before all is gone, so that the same command goes on after a kill."""
        for part in planned.parts:
            if part.kind == "endpoint":
                ServerlessEndpoint(self._project, part.name).delete()
            else:
                Models(self._project).delete(part.name, str(part.of))
        for part in planned.parts:
            if part.kind == "endpoint":
                self._state.forget_endpoint(part.name)
            else:
                self._state.forget_model(part.name, str(part.of))

    def status(self) -> list[EndpointStatus]:
        """See Backend, and ``examine_all``."""
        self._noted_jobs.look()
        return examine_all(self._project, self._state.endpoints())

    def connection(self, endpoint: str) -> EndpointAccess:
        """See Backend. Azure tells the key."""
        service = ServerlessEndpoint(self._project, endpoint)
        existing = service.read()
        if existing is None:
            raise no_endpoint(self._project, endpoint, list_serverless(self._project))
        url = base_url(existing)
        if url is None:
            raise DeploymentError(f"the endpoint {endpoint} has no URL: Azure calls it {state_of(existing)}")
        return EndpointAccess(url, service.key())

    def _keep_training(self, end: JobProgress, job: Mapping[str, Any]) -> Path | None:
        tags, details = job.get("tags") or {}, job.get("fineTuningDetails") or {}
        return keep_training(
            self._folder,
            end.name,
            read_histories({name: self._jobs.metric_history(end.name, name) for name in end.metrics}),
            backend=BACKEND,
            base_model=str(tags.get("base_model", "")),
            parameters=details.get("hyperParameters") or {},
            data={name: str(value) for name, value in tags.items() if name.endswith("_sha256")},
            started_at=self._jobs.started_at(end.name),
            duration_s=self._jobs.ran_s(end.name),
        )

    def _latest_model(self) -> str | None:
        """Return the model that was registered from here last, as NAME:VERSION."""
        models = self._state.models()
        return f"{models[-1].name}:{models[-1].version}" if models else None
