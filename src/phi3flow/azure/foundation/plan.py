"""What exists of what a project needs in Azure, and so what would have to be made or changed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.foundation.inventory import list_wanted
from phi3flow.azure.foundation.resources import Found, Wanted
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.tags import is_tagged

AT_ONCE = 8
"""Requests in flight while everything is looked at."""


@dataclass(frozen=True)
class Step:
    """Something wanted, and what was found of it."""

    wanted: Wanted
    found: Found

    @property
    def is_open(self) -> bool:
        """Whether there is something to make, to change or to wait for."""
        return self.found.action in ("create", "change", "wait")


def make_plan(arm: Arm, settings: AzureSettings) -> list[Step]:
    """Look at everything that the settings ask for, and change nothing; each step stands after what it needs."""
    workspace = arm.get(settings.workspace_id(settings.workspace), ML_VERSION)
    adopted = None if workspace is None or is_tagged(workspace) else workspace
    wanted = list_wanted(settings, tenant_id=arm.caller().tenant_id, adopted=adopted)
    return _look_at(arm, wanted)


def look_at_again(arm: Arm, steps: Sequence[Step]) -> list[Step]:
    """Return the same steps as they stand now."""
    return _look_at(arm, [step.wanted for step in steps])


def _look_at(arm: Arm, wanted: Sequence[Wanted]) -> list[Step]:
    """Look at several things at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda each: Step(each, each.look(arm)), wanted))
