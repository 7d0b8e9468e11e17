"""Azure Machine Learning as a backend: jobs on the cluster, models and online endpoints of the workspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.preflight import check_deployment
from phi3flow.azure.prices import describe_cost
from phi3flow.azure.workspace.endpoints import OnlineEndpoint, list_own
from phi3flow.azure.workspace.jobs import ENDED, JobProgress, Jobs
from phi3flow.azure.workspace.models import Models
from phi3flow.azure.workspace.workspace import Workspace, open_workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.backends.azureml.deployments import Deployer, deployment_name
from phi3flow.backends.azureml.endpoints import examine_all
from phi3flow.backends.azureml.fine_tuning import OUTPUT
from phi3flow.backends.azureml.jobs import PlannedFineTune, describe_end, output_of, plan_job, send_job
from phi3flow.backends.azureml.script_recipe import OUTPUT_TYPE, RECIPE
from phi3flow.backends.backend import (
    Backend,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    PlannedDeployment,
    refuse_flags,
)
from phi3flow.errors import ConfigError
from phi3flow.project.paths import PROJECT, STATE_FILE
from phi3flow.project.state import BackendState, EndpointState, EndpointStatus, JobState, ModelState

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


@dataclass(frozen=True, kw_only=True)
class PlannedVersion(PlannedDeployment):
    """The deployment of a model's version; ``traffic`` in percent."""

    model_id: str
    traffic: int


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

    def cancel(self, job: str) -> JobState:
        """See Backend. It is CancelRequested until Azure has ended it."""
        return self._note_job(job, self._jobs.cancel(job))

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. Tags say what the model was made of, as its job's do."""
        job_name = job or self._latest_job()
        properties = self._jobs.read(job_name)
        if properties is None:
            raise ConfigError(f"there is no job {job_name} in the workspace {self._workspace.settings.workspace}")
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
        """See Backend. Each version gets a deployment of its own. Raises PreflightError where a new one could not be.

        Raises ConfigError for a percentage that is not whole, which Azure does not take.
        """
        refuse_flags(request, _REFUSED)
        if request.traffic != int(request.traffic):
            raise ConfigError(f"--traffic {request.traffic:g}: Azure takes whole percentages")
        name, version = self._find_model(request.model)
        self._need_model(name, version)
        settings = self._workspace.settings
        endpoint = OnlineEndpoint(self._workspace, request.name or settings.endpoint)
        deployment = deployment_name(name, version)
        exists = endpoint.deployment(deployment) is not None
        warnings = [] if exists else refuse(check_deployment(self._workspace))
        return PlannedVersion(
            model=f"{name}:{version}",
            cost=None
            if exists
            else lambda: describe_cost(settings.deployment_size, settings.location, settings.instances),
            warnings=tuple(map(str, warnings)),
            endpoint=endpoint.name,
            deployment=deployment,
            exists=exists,
            model_id=self._models.id_of(name, version),
            traffic=int(request.traffic),
        )

    def deploy(self, planned: PlannedVersion, *, on_note: Callable[[str], None]) -> EndpointState:
        """See Backend, and ``Deployer.deploy``."""
        deployer = Deployer(self._workspace, OnlineEndpoint(self._workspace, planned.endpoint), on_note)
        tags = {"model": planned.model}
        deployed = deployer.deploy(
            model_id=planned.model_id, name=planned.deployment, tags=tags, traffic=planned.traffic
        )
        endpoint = EndpointState(
            backend=BACKEND,
            endpoint=planned.endpoint,
            deployment=planned.deployment,
            url=deployed.url,
            model=planned.model,
            traffic=deployed.traffic.get(planned.deployment, 0),
            created_at=datetime.now(UTC),
        )
        self._state.note_endpoint(endpoint, traffic=deployed.traffic)
        return endpoint

    def undeploy(self, endpoint: str, *, deployment: str | None = None) -> None:
        """See Backend. What is noted and gone already is no error: an earlier call may have been killed."""
        service = OnlineEndpoint(self._workspace, endpoint)
        if not self._noted(endpoint):
            self._need_endpoint(service)
        if deployment is None:
            service.delete()
        else:
            service.delete_deployment(deployment)
        self._state.forget_endpoint(endpoint, deployment)

    def endpoint_names(self) -> list[str]:
        """See Backend. Where none is noted, they are those that Azure knows to be phi3flow's."""
        noted = dict.fromkeys(endpoint.endpoint for endpoint in self._state.endpoints())
        return list(noted) or [str(endpoint["name"]) for endpoint in list_own(self._workspace)]

    def status(self) -> list[EndpointStatus]:
        """See Backend, and ``examine_all``."""
        for job in self._state.jobs():
            if job.status not in ENDED:
                properties = self._jobs.read(job.name)
                self._note_job(job.name, str(properties["status"]) if properties else "Deleted")
        return examine_all(self._workspace, self._state.endpoints())

    def connection(self, endpoint: str) -> EndpointAccess:
        """See Backend. Azure tells the key."""
        service = OnlineEndpoint(self._workspace, endpoint)
        url = next((deployment.url for deployment in reversed(self._noted(endpoint))), None)
        return EndpointAccess(url or self._need_endpoint(service), key=service.key())

    def _noted(self, endpoint: str) -> list[EndpointState]:
        return [deployment for deployment in self._state.endpoints() if deployment.endpoint == endpoint]

    def _need_endpoint(self, service: OnlineEndpoint) -> str:
        """Return an endpoint's URL. Raises ConfigError where the workspace has none of the name."""
        existing = service.read()
        if existing is None:
            names = ", ".join(str(endpoint["name"]) for endpoint in list_own(self._workspace))
            here = f"phi3flow made {names}" if names else "phi3flow made none"
            raise ConfigError(
                f"there is no endpoint {service.name} in the workspace {self._workspace.settings.workspace}: {here}"
            )
        return str(existing["properties"].get("scoringUri", ""))

    def _need_model(self, name: str, version: str) -> None:
        if self._models.read(name, version) is None:
            raise ConfigError(f"the workspace {self._workspace.settings.workspace} has no model {name}:{version}")

    def _latest_job(self) -> str:
        jobs = self._state.jobs()
        if not jobs:
            raise ConfigError("no job was submitted from here: register JOB, or `phi3flow fine-tune --backend azureml`")
        return jobs[-1].name

    def _find_model(self, reference: str | None) -> tuple[str, str]:
        if reference is None:
            models = self._state.models()
            if not models:
                raise ConfigError(
                    "no model was registered from here: deploy NAME[:VERSION], or `phi3flow register` first"
                )
            return models[-1].name, models[-1].version
        name, _, version = reference.partition(":")
        return name, version or self._models.latest(name)

    def _note_job(self, name: str, status: str) -> JobState:
        noted = next((job for job in self._state.jobs() if job.name == name), None)
        created_at = noted.created_at if noted else datetime.now(UTC)
        job = JobState(backend=BACKEND, name=name, status=status, output=output_of(name), created_at=created_at)
        self._state.note_job(job)
        return job
