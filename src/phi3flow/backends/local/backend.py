"""This machine as a backend: it fine-tunes in this process, and each endpoint is a server that outlives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from phi3flow.backends.backend import (
    Backend,
    DeletionRequest,
    DeploymentRequest,
    EndpointAccess,
    FineTuneRequest,
    JobResult,
    OnProgress,
    Part,
    PlannedDeletion,
    model_to_delete,
    only_name,
    refuse_flags,
    refuse_multiplier,
)
from phi3flow.backends.local import BACKEND
from phi3flow.backends.local.deployments import PlannedServer, plan_server, start_endpoint
from phi3flow.backends.local.jobs import (
    ENDED,
    PlannedTraining,
    find_job,
    note_planned,
    plan_job,
    read_result,
    run_planned,
)
from phi3flow.backends.local.registry import delete_version, need_version, register_model
from phi3flow.backends.local.server_processes import look_at_server, stop_server, with_announced_url
from phi3flow.errors import ConfigError
from phi3flow.project.paths import FINE_TUNED_MODEL, PROJECT, STATE_FILE
from phi3flow.project.state import BackendState, EndpointState, EndpointStatus, JobState, ModelState
from phi3flow.training import fine_tune_config

_BY_LAUNCHER = "does not go with --backend local: a launcher such as torchrun starts a process for each GPU"
_REFUSED = {
    "recipe": "does not go with --backend local, which has one recipe",
    "gpus": _BY_LAUNCHER,
    "nodes": _BY_LAUNCHER,
    "deepspeed_stage": "does not go with --backend local, where each GPU holds all weights",
    "traffic": "does not go with --backend local: an endpoint on this machine is its only deployment",
    "suffix": "is for --backend serverless and azure-openai; --output names the model here",
    "training_type": "is for --backend azure-openai",
    "sku": "is for --backend azure-openai",
    "capacity": "is for --backend azure-openai",
    "source": "is for --backend azure-openai",
    "content_safety": "is for --backend serverless: an endpoint on this machine has none",
}
_REFUSED_DELETIONS = {
    "deployment": "does not go with --backend local: an endpoint is its only deployment",
    "cascade": "is for --backend serverless and azure-openai",
}


class LocalBackend(Backend[PlannedTraining, PlannedServer]):
    """The jobs, models and endpoints of the project in a folder; the logs of servers lie beside its state."""

    name = BACKEND
    jobs_run_in = None
    has_deployments = False

    def __init__(self, project: Path = PROJECT) -> None:
        self._state = BackendState(BACKEND, project / STATE_FILE)
        self._submitted: dict[str, PlannedTraining] = {}

    def plan(self, request: FineTuneRequest) -> PlannedTraining:
        """See Backend. Without ``model`` the tiny base model is fine-tuned, with a folder an adapter trained."""
        refuse_flags(request, _REFUSED)
        refuse_multiplier(request)
        config = fine_tune_config(
            train=request.train,
            validation=request.validation,
            model=Path(request.model) if request.model else None,
            base={"seed": request.seed},
            output=request.output or FINE_TUNED_MODEL,
            hyperparameters=dict(request.hyperparameters),
            seed=request.seed,
            merge=request.merge,
            resume=request.resume,
        )
        return plan_job(config)

    def submit(self, planned: PlannedTraining) -> JobState:
        """See Backend. The job is run by whoever follows it in this process."""
        self._submitted[planned.name] = planned
        return note_planned(planned, self._state)

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """See Backend. A job that was not submitted by this process is not run, only its result is read."""
        planned = self._submitted.get(job)
        if planned:
            return run_planned(planned, on_progress=on_progress, state=self._state)
        return read_result(find_job(job, self._state))

    def running_job(self, job: str | None) -> str:
        """See Backend."""
        names = [noted.name for noted in self._state.jobs() if noted.status not in ENDED]
        if job is None and not names:
            raise ConfigError("no job of this machine is under way")
        return self.cancel(job or names[-1]).name

    def cancel(self, job: str) -> JobState:
        """See Backend. Raises ConfigError for a job that has not ended: only its own process can end it."""
        existing = find_job(job, self._state)
        if existing.status not in ENDED:
            raise ConfigError(f"job {job} runs in the process that began it: press Ctrl-C there, which ends it")
        return existing

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """See Backend. The registry is MLflow's."""
        return register_model(job, name=name, flow_version=flow_version, state=self._state)

    def plan_deployment(self, request: DeploymentRequest) -> PlannedServer:
        """See Backend."""
        refuse_flags(request, _REFUSED)
        return plan_server(request, self._state)

    def deploy(self, planned: PlannedServer, *, on_note: Callable[[str], None]) -> EndpointState:
        """See Backend. A server that is gone gives way to one of its name."""
        on_note(f"deploying {planned.model} as {planned.endpoint} …")
        if planned.endpoint in {noted.endpoint for noted in self._state.endpoints()}:
            self._state.forget_endpoint(planned.endpoint)
        return start_endpoint(planned, self._state)

    def plan_deletion(self, request: DeletionRequest) -> PlannedDeletion | None:
        """See Backend."""
        refuse_flags(request, _REFUSED_DELETIONS)
        if request.model:
            model = model_to_delete(request.model, self._state.models())
            need_version(model.name, str(model.of), state=self._state)
            return PlannedDeletion((model,))
        name = request.endpoint or only_name([noted.endpoint for noted in self._state.endpoints()])
        return PlannedDeletion((Part("endpoint", self._find(name).endpoint),)) if name else None

    def undeploy(self, planned: PlannedDeletion, *, on_note: Callable[[str], None] = lambda _: None) -> None:
        """See Backend. The server finishes what is in flight."""
        for part in planned.parts:
            if part.kind == "model":
                delete_version(part.name, str(part.of), state=self._state)
            else:
                stop_server(self._find(part.name))
                self._state.forget_endpoint(part.name)

    def status(self) -> list[EndpointStatus]:
        """See Backend. A job is noted by the process that runs it."""
        statuses = []
        for endpoint in map(with_announced_url, self._state.endpoints()):
            liveness, detail = look_at_server(endpoint)
            statuses.append(EndpointStatus(**endpoint.model_dump(), state=liveness, detail=detail))
        return statuses

    def connection(self, endpoint: str) -> EndpointAccess:
        """See Backend. The key is in nobody's hands but the server's."""
        url = with_announced_url(self._find(endpoint)).url
        if url is None:
            raise ConfigError(f"the endpoint {endpoint!r} has no URL yet: `phi3flow status` tells how it fares")
        return EndpointAccess(url, key=None)

    def _find(self, name: str) -> EndpointState:
        endpoints = self._state.endpoints()
        for endpoint in endpoints:
            if endpoint.endpoint == name:
                return endpoint
        names = ", ".join(endpoint.endpoint for endpoint in endpoints) or "nothing is deployed from here"
        raise ConfigError(f"there is no local endpoint {name!r}: {names}")
