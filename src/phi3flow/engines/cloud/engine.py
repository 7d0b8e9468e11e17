"""Engines in the cloud: asked first, submitted all at once, followed, imported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from phi3flow.engines.cloud.cloud_run import CloudRun
from phi3flow.engines.cloud.place import Place
from phi3flow.engines.engine import RunDisplay
from phi3flow.runner import RunPlan
from phi3flow.runner.aggregation import has_aggregation_node
from phi3flow.runs.folder import RunFolder

_REFUSES = (
    "--rpm",
    "--tpm",
    "--fail-fast",
    "--init",
    "--tokenizer",
    "--price-in",
    "--price-out",
    "--cache",
    "--baseline",
    "--stop-when-decided",
    "--history",
    "--trace",
)
"""Flags that no place follows: it executes lines in its own way, and tells of them at the end."""


@dataclass(frozen=True)
class CloudEngine:
    """Has runs carried out by a place; its connections are those of the place."""

    name: str
    place_type: type[Place]

    @property
    def max_retries(self) -> int:
        """See Engine."""
        return self.place_type.max_retries

    @property
    def refuses(self) -> tuple[str, ...]:
        """See Engine."""
        return (*_REFUSES, *self.place_type.refuses)

    def run(self, plans: Sequence[RunPlan], *, fresh: bool, display: RunDisplay) -> list[RunFolder]:
        """See Engine. The runs take place at the same time, without those that the user would not pay for."""
        place = self.place_type()
        with ExitStack() as held:
            begun = []
            for plan in plans:
                if has_aggregation_node(plan.flow):
                    display.note(f"The aggregation of {plan.flow.name} is not executed: its answers come back alone.")
                run = held.enter_context(CloudRun(plan, place, engine=self.name, fresh=fresh))
                if run.begin(partial(_confirm, display, plan.name)):
                    begun.append(run)
            try:
                with display.jobs() as jobs:
                    return [run.complete(jobs.show) for run in begun]
            except KeyboardInterrupt:
                display.note("The jobs go on in Azure; the same command follows them again.")
                raise


def _confirm(display: RunDisplay, run: str, cost: str) -> bool:
    return display.confirm(f"Run {run} on {cost}?")
