"""Azure OpenAI as a backend: its API fine-tunes, Azure Resource Manager deploys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from phi3flow.azure.openai.jobs import OpenAIJobs, status_of
from phi3flow.azure.openai.place import OpenAIPlace
from phi3flow.azure.workspace.jobs import COMPLETED
from phi3flow.backends.azure_openai import BACKEND
from phi3flow.backends.azure_openai.deployments import (
    ONLY_VERSION,
    OpenAIDeployer,
    PlannedOpenAIDeployment,
    plan_deployment,
)
from phi3flow.backends.azure_openai.endpoints import examine_all, no_deployment, plan_deletion, removed
from phi3flow.backends.azure_openai.jobs import (
    PlannedOpenAIJob,
    describe_end,
    fine_tuned_model,
    job_of,
    output_of,
    plan_job,
    send_job,
)
from phi3flow.backends.backend import (
    DeletionRequest,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    Part,
    PlannedDeletion,
    refuse_flags,
)
from phi3flow.backends.cloud_backend import ServiceBackend, not_as_a_service
from phi3flow.backends.coming_up import EndpointDeployer
from phi3flow.backends.noted_jobs import DELETED
from phi3flow.errors import ConfigError
from phi3flow.project.paths import UPLOADS
from phi3flow.project.state import EndpointStatus, JobState, ModelState

_REFUSED = {
    **not_as_a_service(BACKEND),
    "traffic": f"does not go with --backend {BACKEND}: a deployment is asked by its name",
    "content_safety": f"does not go with --backend {BACKEND}: the resource's content filter is set in the portal",
}
_REFUSED_DELETIONS = {"deployment": f"does not go with --backend {BACKEND}: NAME is the deployment"}


class AzureOpenAIBackend(ServiceBackend[PlannedOpenAIJob, PlannedOpenAIDeployment]):
    """The Azure OpenAI resource of a project: AZURE_OPENAI_ENDPOINT's, or the one that phi3flow.toml names."""

    name = BACKEND

    @cached_property
    def _place(self) -> OpenAIPlace:
        return OpenAIPlace(self._folder)

    @property
    def _jobs(self) -> OpenAIJobs:
        return OpenAIJobs(self._place.service)

    def _output_of(self, job: str) -> str:
        return output_of(job)

    def plan(self, request: FineTuneRequest) -> PlannedOpenAIJob:
        """See Backend, and ``plan_job``."""
        refuse_flags(request, _REFUSED)
        return plan_job(request, self._place, noted=self._state.jobs(), uploads=self._folder / UPLOADS / BACKEND)

    def submit(self, planned: PlannedOpenAIJob) -> JobState:
        """See Backend. Files are uploaded where they are not there yet; the service names the job."""
        if planned.status is not None:
            return self._noted_jobs.note(planned.name, planned.status, fingerprint=planned.fingerprint)
        name = send_job(planned, self._place.service, self._state.jobs())
        return self._noted_jobs.note(name, "NotStarted", fingerprint=planned.fingerprint)

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """See Backend, and ``OpenAIJobs.follow``. The loss curves are kept as training.json."""
        end = self._noted_jobs.follow(job, on_progress)
        return describe_end(end, self._jobs.need(job), self._place.service, self._folder)

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. The service has the model already: nothing is sent, and ``flow_version`` is kept nowhere.

        Raises ConfigError for a ``name``: the service names its models.
        """
        if name is not None:
            raise ConfigError(f"--name does not go with --backend {BACKEND}: fine-tune --suffix names the model")
        job_name = self._noted_jobs.need_completed(job)
        return self._note_model(fine_tuned_model(self._jobs.need(job_name)), ONLY_VERSION, job_name)

    def plan_deployment(self, request: DeploymentRequest) -> PlannedOpenAIDeployment:
        """See Backend, and ``plan_deployment``."""
        refuse_flags(request, _REFUSED)
        return plan_deployment(self._place, request, latest=request.model or self._latest_model())

    def _deployer(self, planned: PlannedOpenAIDeployment, on_note: Callable[[str], None]) -> EndpointDeployer:
        return OpenAIDeployer(self._place, planned, on_note)

    def _asked_as(self, planned: PlannedOpenAIDeployment) -> str | None:
        return planned.deployment

    def plan_deletion(self, request: DeletionRequest) -> PlannedDeletion | None:
        """See Backend, and ``plan_deletion``."""
        refuse_flags(request, _REFUSED_DELETIONS)
        models = {model.name: job_of(model.source) for model in self._state.models()}
        return plan_deletion(self._place, request, self._state.endpoints(), models)

    def undeploy(self, planned: PlannedDeletion, *, on_note: Callable[[str], None] = lambda _: None) -> None:
        """See Backend. Nothing is forgotten before all is gone, so that the same command goes on after a kill."""
        for part in planned.parts:
            self._delete(part)
        for part in planned.parts:
            if part.kind == "endpoint":
                self._state.forget_endpoint(part.name)
            elif part.kind == "model":
                self._state.forget_model(part.name, ONLY_VERSION)
            elif part.kind == "job" and part.name in {job.name for job in self._state.jobs()}:
                self._noted_jobs.note(part.name, DELETED)

    def _delete(self, part: Part) -> None:
        match part.kind:
            case "model":
                self._place.service.delete_model(part.name)
            case "job":
                self._place.service.delete_job(part.name)
            case "file":
                self._place.service.delete_file(part.name)
            case _:
                self._place.account.delete_deployment(part.name)

    def status(self) -> list[EndpointStatus]:
        """See Backend, and ``examine_all``."""
        if self._place.is_there:
            self._noted_jobs.look()
        return examine_all(self._place, self._state.endpoints())

    def connection(self, endpoint: str) -> EndpointAccess:
        """See Backend. The key is the environment's, else Azure tells it.

        Raises ConfigError for a deployment that Azure has removed, where the subscription is set to ask there.
        """
        is_noted = endpoint in {noted.endpoint for noted in self._state.endpoints()}
        if not is_noted or self._place.has_settings:
            rows = {str(row["name"]): row for row in self._place.account.deployments()}
            if endpoint not in rows:
                raise removed(endpoint) if is_noted else no_deployment(self._place.account, endpoint, rows)
        return EndpointAccess(self._place.service.address.base_url, self._place.key())

    def _latest_model(self) -> str | None:
        """Return the model that was registered from here last, else that of the last job that completed."""
        models = self._state.models()
        if models:
            return models[-1].name
        completed = [job for job in self._place.service.jobs() if status_of(job) == COMPLETED]
        noted = {job.name for job in self._state.jobs()}
        ours = [job for job in completed if job["id"] in noted]
        return fine_tuned_model(ours[0]) if ours else None
