"""What an engine is to batch-run, and what batch-run's display is to an engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from phi3flow.azure.workspace.jobs import JobProgress
    from phi3flow.records.runs import Manifest
    from phi3flow.runner import RunPlan, RunProgress
    from phi3flow.runs.folder import RunFolder


class LineDisplay(Protocol):
    """Shows a run whose lines are executed one by one."""

    def start(self, manifest: Manifest) -> None:
        """Show the run's name and how many lines were done before."""

    def update(self, progress: RunProgress) -> None:
        """Show where the run stands."""


class JobDisplay(Protocol):
    """Shows jobs in the cloud."""

    def show(self, progress: JobProgress) -> None:
        """Show where a job stands."""


class RunDisplay(Protocol):
    """What the user sees of runs, and is asked."""

    def confirm(self, question: str) -> bool:
        """Ask before something costs money."""
        ...

    def note(self, text: str) -> None:
        """Say what the user should know."""

    def lines(self) -> AbstractContextManager[LineDisplay]:
        """Return the display of one run's lines."""
        ...

    def jobs(self) -> AbstractContextManager[JobDisplay]:
        """Return the display of jobs."""
        ...


class Engine(Protocol):
    """Where lines are executed.

    ``max_retries``: retries of a line where the user names none. ``refuses``: flags of batch-run that it cannot follow.
    """

    @property
    def name(self) -> str: ...

    @property
    def max_retries(self) -> int: ...

    @property
    def refuses(self) -> Sequence[str]: ...

    def run(self, plans: Sequence[RunPlan], *, fresh: bool, display: RunDisplay) -> list[RunFolder]:
        """Carry out the plans, at the same time or one after the other, and return the runs that began.

        It finds the flow's connections where it executes. What costs money is asked first; a run goes on where it was
        left, or starts over where ``fresh``. Raises what ``run_flow`` raises, BackendError where the cloud fails.
        """
        ...
