"""What backends in Azure have in common: jobs that go on there, and endpoints that are noted before they are begun."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from phi3flow.backends.backend import Backend, DeploymentT, JobT
from phi3flow.backends.coming_up import EndpointDeployer
from phi3flow.backends.noted_jobs import JobService, NotedJobs
from phi3flow.project.paths import PROJECT, STATE_FILE
from phi3flow.project.state import BackendState, EndpointState, JobState, ModelState

_BY_AZURE = "is for --backend local: Azure gives an endpoint its address and key"
_OF_AZURE_OPENAI = "is for --backend azure-openai"
NOT_IN_AZURE = {
    "resume": "is for --backend local; a job in Azure is followed again by the same command",
    "host": _BY_AZURE,
    "port": _BY_AZURE,
    "key_env": _BY_AZURE,
    "timeout_s": "is for --backend local: Azure bounds the time by itself",
}
"""Why what is asked of this machine is refused elsewhere, by field."""
AZURE_OPENAI_ALONE = dict.fromkeys(("training_type", "sku", "capacity", "source"), _OF_AZURE_OPENAI)
"""Why what only Azure OpenAI has is refused elsewhere, by field."""


def not_as_a_service(backend: str) -> dict[str, str]:
    """Return why what a service decides by itself is refused, by field."""
    machines = f"does not go with --backend {backend}: the service trains on machines of its own"
    return {
        **NOT_IN_AZURE,
        "merge": "is for --backend local; the service keeps the weights",
        "output": "is for --backend local; --suffix names the model here",
        "recipe": f"does not go with --backend {backend}, which has one recipe",
        **dict.fromkeys(("gpus", "nodes", "deepspeed_stage"), machines),
    }


class CloudBackend(Backend[JobT, DeploymentT], ABC):
    """A backend whose jobs go on in Azure; ``_jobs`` is where, and ``_output_of`` says where a job's model is."""

    jobs_run_in = "Azure"

    def __init__(self, project: Path = PROJECT) -> None:
        self._folder = project
        self._state = BackendState(self.name, project / STATE_FILE)

    @property
    @abstractmethod
    def _jobs(self) -> JobService: ...

    @abstractmethod
    def _output_of(self, job: str) -> str: ...

    @property
    def _noted_jobs(self) -> NotedJobs:
        return NotedJobs(self._state, self._jobs, self._output_of)

    def running_job(self, job: str | None) -> str:
        """See Backend. A job that was submitted from elsewhere is known by its name too."""
        return self._noted_jobs.running(job)

    def cancel(self, job: str) -> JobState:
        """See Backend."""
        return self._noted_jobs.cancel(job)


class ServiceBackend(CloudBackend[JobT, DeploymentT]):
    """A service that trains and hosts models by itself: an endpoint is one model, and speaks OpenAI's protocol."""

    has_deployments = False

    @abstractmethod
    def _deployer(self, planned: DeploymentT, on_note: Callable[[str], None]) -> EndpointDeployer: ...

    @abstractmethod
    def _asked_as(self, planned: DeploymentT) -> str | None:
        """Return what requests call the model, None where the endpoint's URL says it."""

    def deploy(self, planned: DeploymentT, *, on_note: Callable[[str], None]) -> EndpointState:
        """See Backend, and ``EndpointDeployer``. It is noted before it is begun, forgotten where it is taken back."""
        was_noted = planned.endpoint in {noted.endpoint for noted in self._state.endpoints()}
        if not was_noted:
            self._note_endpoint(planned, None)
        deployer = self._deployer(planned, on_note)
        try:
            url = deployer.deploy()
        except BaseException:
            if deployer.exists is False or (deployer.exists is None and not was_noted):
                self._state.forget_endpoint(planned.endpoint)
            raise
        return self._note_endpoint(planned, url)

    def _note_endpoint(self, planned: DeploymentT, url: str | None) -> EndpointState:
        """Note an endpoint; one without a URL is being made."""
        endpoint = EndpointState(
            backend=self.name,
            endpoint=planned.endpoint,
            deployment=planned.deployment,
            url=url,
            protocol="openai",
            asked_as=self._asked_as(planned),
            model=planned.model,
            created_at=datetime.now(UTC),
        )
        self._state.note_endpoint(endpoint, traffic={planned.deployment: endpoint.traffic})
        return endpoint

    def _note_model(self, name: str, version: str, job: str) -> ModelState:
        model = ModelState(
            backend=self.name, name=name, version=version, source=self._output_of(job), created_at=datetime.now(UTC)
        )
        self._state.note_model(model)
        return model
