"""What every backend can do with endpoints, so that a verb need not know which one it speaks to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from phi3flow.state import EndpointState

Liveness = Literal["running", "stopping", "unresponsive", "crashed", "stopped"]


class EndpointStatus(EndpointState):
    """An endpoint and how it fares: ``detail`` says what is known where it does not run."""

    state: Liveness
    detail: str | None = None


class Backend(Protocol):
    """A place that runs endpoints. Every method raises BackendError where the place fails."""

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
