"""What exists of what a project needs in Azure, and so what would have to be made or changed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from phi3flow.azure.arm import Arm
from phi3flow.azure.foundation.inventory import list_requirements
from phi3flow.azure.foundation.resources import Condition, Requirement
from phi3flow.azure.workspace.workspace import Workspace

AT_ONCE = 8
"""Requests in flight while everything is looked at."""


@dataclass(frozen=True)
class Task:
    """Something that the project needs, and in which condition it is."""

    requirement: Requirement
    condition: Condition

    @property
    def is_open(self) -> bool:
        """Whether there is something to make, to change or to wait for."""
        return self.condition.action in ("create", "change", "wait")


def make_plan(workspace: Workspace) -> list[Task]:
    """Look at everything that the settings ask for, and change nothing; each task stands after what it needs."""
    arm = workspace.arm
    tenant_id = arm.caller().tenant_id
    requirements = list_requirements(workspace.settings, tenant_id=tenant_id, existing=workspace.resource)
    return _look_at(arm, requirements)


def look_again(arm: Arm, tasks: Sequence[Task]) -> list[Task]:
    """Return the same tasks as they stand now."""
    return _look_at(arm, [task.requirement for task in tasks])


def _look_at(arm: Arm, requirements: Sequence[Requirement]) -> list[Task]:
    """Look at several things at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda requirement: Task(requirement, requirement.look(arm)), requirements))
