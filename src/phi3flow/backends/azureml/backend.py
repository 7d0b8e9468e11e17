"""Azure Machine Learning as a backend: jobs on the cluster, models and online endpoints of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from phi3flow.azure.workspace.endpoints import OnlineEndpoint, list_own
from phi3flow.azure.workspace.jobs import ENDED, JobProgress, Jobs
from phi3flow.azure.workspace.models import Models
from phi3flow.azure.workspace.workspace import Workspace, open_workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.backends.azureml.deletions import no_endpoint, plan_deletion
from phi3flow.backends.azureml.deployments import Deployer, PlannedVersion
from phi3flow.backends.azureml.endpoints import examine_all
from phi3flow.backends.azureml.fine_tuning import OUTPUT
from phi3flow.backends.azureml.jobs import PlannedFineTune, describe_end, output_of, plan_job, send_job
from phi3flow.backends.azureml.script_recipe import OUTPUT_TYPE, RECIPE
from phi3flow.backends.azureml.versions import plan_version
from phi3flow.backends.backend import (
    Backend,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    PlannedDeletion,
    refuse_flags,
)
from phi3flow.errors import ConfigError
from phi3flow.project.paths import PROJECT, STATE_FILE
from phi3flow.project.state import BackendState, EndpointState, EndpointStatus, JobState, ModelState

NOTED_AFTER_S = 30.0
_BY_AZURE = "is for --backend local: Azure gives an endpoint its address and key"
_REFUSED = {
    "resume": "is for --backend local; a job in Azure is followed again by the same command",
    "merge": "is for --backend local; --recipe script merges, and the catalog's component decides by itself",
    "output": "is for --backend local; the model is the job's, until `phi3flow register` gives it a name",
    "host": _BY_AZURE,
    "port": _BY_AZURE,
    "key_env": _BY_AZURE,
    "timeout_s": "is for --backend local: Azure bounds the time by itself",
}


class AzureMLBackend(Backend[PlannedFineTune, PlannedVersion]):
    """The workspace of the phi3flow.toml in a project's folder."""

    name = BACKEND
    jobs_run_in = "Azure"
    has_deployments = True

    def __init__(self, project: Path = PROJECT) -> None:
        self._project = project
        self._state = BackendState(BACKEND, project / STATE_FILE)

    @cached_property
    def _workspace(self) -> Workspace:
        return open_workspace(self._project)

    @property
    def _jobs(self) -> Jobs:
        return Jobs(self._workspace)

    @property
    def _models(self) -> Models:
        return Models(self._workspace)

    def plan(self, request: FineTuneRequest) -> PlannedFineTune:
        """See Backend."""
        refuse_flags(request, _REFUSED)
        return plan_job(request, self._workspace)

    def submit(self, planned: PlannedFineTune) -> JobState:
        """See Backend. Files are uploaded where they are not there yet."""
        if planned.status is None:
            send_job(planned, self._workspace)
        return self._note_job(planned.name, planned.status or "NotStarted")

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """See Backend. How the job fares is noted whenever that changes; see ``Jobs.follow``."""
        seen: str | None = None

        def note(progress: JobProgress) -> None:
            nonlocal seen
            if progress.status != seen:
                self._note_job(job, progress.status)
            seen = progress.status
            on_progress(progress)

        return describe_end(self._jobs.follow(job, note))

    def running_job(self, job: str | None) -> str:
        """See Backend. A job that was submitted from elsewhere, or that runs a flow, is known by its name too."""
        if job is not None:
            self._jobs.need(job)
            return job
        names = [noted.name for noted in self._state.jobs() if noted.status not in ENDED]
        if not names:
            raise ConfigError("no job that was submitted from here is under way: phi3flow cancel JOB names another")
        return names[-1]

    def cancel(self, job: str) -> JobState:
        """See Backend. Ctrl-C leaves it to Azure, which goes on ending it."""
        status = self._jobs.end(job)
        if job in {noted.name for noted in self._state.jobs()}:
            return self._note_job(job, status)
        return _describe_job(job, status)

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. Tags say what the model was made of, as its job's do."""
        job_name = job or self._latest_job()
        properties = self._jobs.need(job_name)
        if properties.get("status") != "Completed":
            raise ConfigError(f"job {job_name} is {properties.get('status')}: only a completed job has a model")
        model_name = name or f"{self._workspace.settings.model}-tuned"
        job_tags = (properties.get("tags") or {}).items()
        tags = {key: str(value) for key, value in job_tags if not key.startswith("azureml.")}
        if flow_version:
            tags["flow_version"] = flow_version
        kind = OUTPUT_TYPE if tags.get("recipe") == RECIPE else "mlflow_model"
        model = ModelState(
            backend=BACKEND,
            name=model_name,
            version=self._models.register(model_name, job=job_name, output=OUTPUT, kind=kind, tags=tags),
            source=output_of(job_name),
            created_at=datetime.now(UTC),
        )
        self._state.note_model(model)
        return model

    def delete_model(self, name: str, version: str) -> None:
        """See Backend. Raises AzureError while a deployment stands on the version."""
        noted = [(model.name, model.version) for model in self._state.models()]
        if (name, version) not in noted:  # else it may be gone already: an earlier call may have been killed
            self._need_model(name, version)
        self._models.delete(name, version)
        self._state.forget_model(name, version)

    def plan_deployment(self, request: DeploymentRequest) -> PlannedVersion:
        """See Backend, and ``plan_version``."""
        refuse_flags(request, _REFUSED)
        return plan_version(self._workspace, request, latest=self._latest_model())

    def deploy(self, planned: PlannedVersion, *, on_note: Callable[[str], None]) -> EndpointState:
        """See Backend, and ``Deployer.deploy``. It is noted before it is begun, forgotten where it is taken back."""
        service = OnlineEndpoint(self._workspace, planned.endpoint)
        was_noted = planned.deployment in {noted.deployment for noted in self._noted(planned.endpoint)}
        if not was_noted:
            self._note_deployment(planned, None, service.traffic())
        deployer = Deployer(self._workspace, service, planned, on_note)
        try:
            deployed = deployer.deploy()
        except BaseException:
            if deployer.exists is False or (deployer.exists is None and not was_noted):
                self._state.forget_endpoint(planned.endpoint, planned.deployment)
            raise
        return self._note_deployment(planned, deployed.url, deployed.traffic)

    def plan_deletion(self, endpoint: str | None, *, deployment: str | None) -> PlannedDeletion | None:
        """See Backend, and ``plan_deletion``."""
        return plan_deletion(self._workspace, self._state.endpoints(), endpoint, deployment)

    def undeploy(
        self, endpoint: str, *, deployment: str | None = None, on_note: Callable[[str], None] = lambda _: None
    ) -> None:
        """See Backend. What is gone already is no error: an earlier call may have been killed."""
        service = OnlineEndpoint(self._workspace, endpoint)
        noted = False

        def wait(passed_s: float) -> None:
            nonlocal noted
            if passed_s >= NOTED_AFTER_S and not noted:
                on_note("Azure deletes it once what it is doing with it has ended; that may take minutes …")
                noted = True

        if deployment is None:
            service.delete(on_wait=wait)
        else:
            service.delete_deployment(deployment, on_wait=wait)
        self._state.forget_endpoint(endpoint, deployment)

    def status(self) -> list[EndpointStatus]:
        """See Backend, and ``examine_all``."""
        self._look_at_jobs()
        return examine_all(self._workspace, self._state.endpoints())

    def connection(self, endpoint: str) -> EndpointAccess:
        """See Backend. Azure tells the key."""
        service = OnlineEndpoint(self._workspace, endpoint)
        url = next((noted.url for noted in reversed(self._noted(endpoint)) if noted.url), None)
        return EndpointAccess(url or self._need_endpoint(service), key=service.key())

    def _noted(self, endpoint: str) -> list[EndpointState]:
        return [deployment for deployment in self._state.endpoints() if deployment.endpoint == endpoint]

    def _note_deployment(self, planned: PlannedVersion, url: str | None, traffic: Mapping[str, int]) -> EndpointState:
        """Note a deployment; one without a URL is being made."""
        endpoint = EndpointState(
            backend=BACKEND,
            endpoint=planned.endpoint,
            deployment=planned.deployment,
            url=url,
            model=planned.model,
            traffic=traffic.get(planned.deployment, 0),
            created_at=datetime.now(UTC),
        )
        self._state.note_endpoint(endpoint, traffic=traffic)
        return endpoint

    def _need_endpoint(self, service: OnlineEndpoint) -> str:
        """Return an endpoint's URL. Raises ConfigError where the workspace has none of the name."""
        existing = service.read()
        if existing is None:
            raise no_endpoint(self._workspace, service.name, list_own(self._workspace))
        return str(existing["properties"].get("scoringUri", ""))

    def _need_model(self, name: str, version: str) -> None:
        if self._models.read(name, version) is None:
            raise ConfigError(f"the workspace {self._workspace.settings.workspace} has no model {name}:{version}")

    def _latest_job(self) -> str:
        """Return the latest job of the project that completed; how the others fare is asked first."""
        self._look_at_jobs()
        jobs = self._state.jobs()
        completed = [job.name for job in jobs if job.status == "Completed"]
        if completed:
            return completed[-1]
        if jobs:
            raise ConfigError(
                f"no job that was submitted from here has completed: {jobs[-1].name} is {jobs[-1].status}"
            )
        raise ConfigError("no job was submitted from here: register JOB, or `phi3flow fine-tune --backend azureml`")

    def _look_at_jobs(self) -> None:
        for job in self._state.jobs():
            if job.status not in ENDED:
                properties = self._jobs.read(job.name)
                self._note_job(job.name, str(properties["status"]) if properties else "Deleted")

    def _latest_model(self) -> str | None:
        """Return the model that was registered from here last, as NAME:VERSION."""
        models = self._state.models()
        return f"{models[-1].name}:{models[-1].version}" if models else None

    def _note_job(self, name: str, status: str) -> JobState:
        noted = next((job for job in self._state.jobs() if job.name == name), None)
        job = _describe_job(name, status, noted.created_at if noted else None)
        self._state.note_job(job)
        return job


def _describe_job(name: str, status: str, created_at: datetime | None = None) -> JobState:
    return JobState(
        backend=BACKEND,
        name=name,
        status=status,
        output=output_of(name),
        created_at=created_at or datetime.now(UTC),
    )
