"""What every backend can do with models and endpoints, so that a verb need not know which one it speaks to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from phi3flow.backends.local.jobs import JobResult
from phi3flow.project.state import EndpointState, EndpointStatus, ModelState
from phi3flow.training import FineTuneConfig
from phi3flow.training.progress import OnProgress


class Backend(Protocol):
    """A place that trains models and runs endpoints. Every method raises BackendError where the place fails."""

    def fine_tune(self, config: FineTuneConfig, *, on_progress: OnProgress) -> JobResult:
        """Fine-tune a model as one job, follow it to its end, and note it in the project's state."""
        ...

    def register(self, job: str | None, *, name: str | None) -> ModelState:
        """Register a job's model (the latest job's without a name), and note its version."""
        ...

    def deploy(self, model: str, *, name: str) -> EndpointState:
        """Deploy a model as an endpoint, wait until it answers, and note it in the project's state."""
        ...

    def undeploy(self, name: str) -> None:
        """Delete an endpoint, and take it out of the project's state. Raises ConfigError for an unknown name."""
        ...

    def endpoints(self) -> Sequence[EndpointState]:
        """Return what was deployed from this project, without asking whether it lives."""
        ...

    def status(self) -> Sequence[EndpointStatus]:
        """Ask every endpoint how it fares."""
        ...
