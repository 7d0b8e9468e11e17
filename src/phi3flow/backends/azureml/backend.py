"""Azure Machine Learning as a backend: jobs on the cluster, models and online endpoints of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property

from phi3flow.azure.workspace.endpoints import OnlineEndpoint, list_own
from phi3flow.azure.workspace.jobs import Jobs
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
    DeletionRequest,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    Part,
    PlannedDeletion,
    model_to_delete,
    refuse_flags,
    refuse_multiplier,
)
from phi3flow.backends.cloud_backend import AZURE_OPENAI_ALONE, NOT_IN_AZURE, CloudBackend
from phi3flow.errors import ConfigError
from phi3flow.project.state import EndpointState, EndpointStatus, JobState, ModelState

NOTED_AFTER_S = 30.0
_REFUSED = {
    **NOT_IN_AZURE,
    **AZURE_OPENAI_ALONE,
    "merge": "is for --backend local; --recipe script merges, and the catalog's component decides by itself",
    "output": "is for --backend local; the model is the job's, until `phi3flow register` gives it a name",
    "suffix": "is for --backend serverless and azure-openai; register --name names the model here",
    "content_safety": "is for --backend serverless: a deployment on machines of your own has none",
}
_REFUSED_DELETIONS = {"cascade": "is for --backend serverless and azure-openai"}


class AzureMLBackend(CloudBackend[PlannedFineTune, PlannedVersion]):
    """The workspace of the phi3flow.toml in a project's folder."""

    name = BACKEND
    has_deployments = True

    @cached_property
    def _workspace(self) -> Workspace:
        return open_workspace(self._folder)

    @property
    def _jobs(self) -> Jobs:
        return Jobs(self._workspace)

    def _output_of(self, job: str) -> str:
        return output_of(job)

    @property
    def _models(self) -> Models:
        return Models(self._workspace)

    def plan(self, request: FineTuneRequest) -> PlannedFineTune:
        """See Backend."""
        refuse_flags(request, _REFUSED)
        refuse_multiplier(request)
        return plan_job(request, self._workspace)

    def submit(self, planned: PlannedFineTune) -> JobState:
        """See Backend. Files are uploaded where they are not there yet."""
        if planned.status is None:
            send_job(planned, self._workspace)
        return self._noted_jobs.note(planned.name, planned.status or "NotStarted")

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """See Backend, and ``Jobs.follow``."""
        return describe_end(self._noted_jobs.follow(job, on_progress))

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. Tags say what the model was made of, as its job's do."""
        job_name = self._noted_jobs.need_completed(job)
        properties = self._jobs.need(job_name)
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

    def plan_deletion(self, request: DeletionRequest) -> PlannedDeletion | None:
        """See Backend, and ``plan_deletion``. Azure refuses a model that a deployment stands on."""
        refuse_flags(request, _REFUSED_DELETIONS)
        if request.model:
            model = model_to_delete(request.model, self._state.models())
            noted = [(known.name, known.version) for known in self._state.models()]
            if (model.name, model.of) not in noted:  # else it may be gone already: an earlier call may have been killed
                self._need_model(model.name, str(model.of))
            return PlannedDeletion((model,))
        part = plan_deletion(self._workspace, self._state.endpoints(), request.endpoint, request.deployment)
        return PlannedDeletion((part,)) if part else None

    def undeploy(self, planned: PlannedDeletion, *, on_note: Callable[[str], None] = lambda _: None) -> None:
        """See Backend."""
        for part in planned.parts:
            if part.kind == "model":
                self._models.delete(part.name, str(part.of))
                self._state.forget_model(part.name, str(part.of))
            else:
                self._undeploy(part, on_note)

    def _undeploy(self, part: Part, on_note: Callable[[str], None]) -> None:
        noted = False

        def wait(passed_s: float) -> None:
            nonlocal noted
            if passed_s >= NOTED_AFTER_S and not noted:
                on_note("Azure deletes it once what it is doing with it has ended; that may take minutes …")
                noted = True

        if part.kind == "deployment":
            OnlineEndpoint(self._workspace, str(part.of)).delete_deployment(part.name, on_wait=wait)
            self._state.forget_endpoint(str(part.of), part.name)
        else:
            OnlineEndpoint(self._workspace, part.name).delete(on_wait=wait)
            self._state.forget_endpoint(part.name)

    def status(self) -> list[EndpointStatus]:
        """See Backend, and ``examine_all``."""
        self._noted_jobs.look()
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

    def _latest_model(self) -> str | None:
        """Return the model that was registered from here last, as NAME:VERSION."""
        models = self._state.models()
        return f"{models[-1].name}:{models[-1].version}" if models else None
