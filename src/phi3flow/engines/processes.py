"""Engines whose processes this command starts and paces itself: on this machine, or in a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.connections.resolve import connection_source
from phi3flow.engines.engine import RunDisplay
from phi3flow.pacing.limits import NO_LIMITS
from phi3flow.project.paths import CONNECTIONS
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runner.run import ProcessSource
from phi3flow.runs.folder import RunFolder


@dataclass(frozen=True)
class ProcessEngine:
    """Follows every flag; connections are the project's."""

    name: str
    processes: ProcessSource
    max_retries: int = NO_LIMITS.max_retries
    refuses: tuple[str, ...] = ()

    def run(self, plans: Sequence[RunPlan], *, fresh: bool, display: RunDisplay) -> list[RunFolder]:
        """See Engine. One run after the other: together they would ask one endpoint, each at a pace of its own."""
        return [self._run(plan, fresh=fresh, display=display) for plan in plans]

    def _run(self, plan: RunPlan, *, fresh: bool, display: RunDisplay) -> RunFolder:
        with display.lines() as progress:
            return run_flow(
                plan,
                connections=connection_source(CONNECTIONS.resolve()),
                processes=self.processes,
                fresh=fresh,
                on_start=progress.start,
                on_progress=progress.update,
            )
