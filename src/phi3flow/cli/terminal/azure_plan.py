"""What `azure plan` shows: what is missing, what it costs and how long it takes, quota, access, and what to type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from phi3flow.text import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from phi3flow.azure.foundation.plan import Task
    from phi3flow.azure.foundation.resources import Action, Requirement
    from phi3flow.azure.preflight.findings import Finding
    from phi3flow.azure.preflight.way import Way
    from phi3flow.azure.settings import AzureSettings

WORDS = {"create": "create", "change": "change"}
STATES = {
    "create": "missing",
    "change": "differs",
    "wait": "is being made",
    "exists": "exists",
    "foreign": "exists, not made by phi3flow",
    "hidden": "not to be seen",
}
PROVIDER = "provider"
"""The label of a registration."""
_NODE_STARTS = "minutes until its node runs"
_ENDPOINT_STARTS = "usually up to 15 min to deploy"


def named(requirement: Requirement) -> dict[str, Any]:
    """Return a requirement as --json names it."""
    return {"resource": requirement.label, "name": requirement.name, "id": requirement.id}


def task_row(task: Task) -> dict[str, Any]:
    """Return a task as --json prints it."""
    row = {**named(task.requirement), "action": task.condition.action, "differences": list(task.condition.differences)}
    size = _size(task.requirement)
    return {**row, "size": size[0], "nodes": size[1]} if size else row


def task_table(tasks: Sequence[Task], words: dict[str, str]) -> RenderableType:
    """Return the tasks as a table, each with its action in ``words``, else its state."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "name", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for action, namespaces in _providers(tasks).items():
        names = ", ".join(namespace.removeprefix("Microsoft.") for namespace in namespaces)
        table.add_row(words.get(action, STATES[action]), plural(len(namespaces), "provider"), Text(names), "")
    for task in tasks:
        if task.requirement.label == PROVIDER:
            continue
        size = _size(task.requirement)
        details = [f"{size[0]}, at most {plural(size[1], 'node')}"] if size else []
        details += task.condition.differences if task.condition.action == "change" else []
        word = words.get(task.condition.action, STATES[task.condition.action])
        table.add_row(word, task.requirement.label, Text(task.requirement.name), Text("; ".join(details)))
    return table


def _providers(tasks: Sequence[Task]) -> dict[Action, list[str]]:
    """Return the providers' namespaces by what is to be done with them."""
    actions: dict[Action, list[str]] = {}
    for task in tasks:
        if task.requirement.label == PROVIDER:
            actions.setdefault(task.condition.action, []).append(task.requirement.name)
    return actions


def cost_rows(settings: AzureSettings, prices: dict[str, float | None]) -> list[dict[str, Any]]:
    """Return what is billed by the hour, in dollars an hour and a day; None where the price is not known."""
    from phi3flow.azure.prices import HOURS

    rows = (
        ("fine-tune, while it runs", settings.fine_tune_size, settings.max_nodes, _NODE_STARTS),
        ("endpoint, from deploy to undeploy", settings.deployment_size, settings.instances, _ENDPOINT_STARTS),
    )
    return [
        {
            "what": purpose,
            "size": size,
            "count": count,
            "dollars_per_hour": _dollars(prices[size], count),
            "dollars_per_day": _dollars(prices[size], count * HOURS),
            "time": time,
        }
        for purpose, size, count, time in rows
    ]


def plan_view(
    tasks: Sequence[Task],
    costs: Sequence[dict[str, Any]],
    quota: Sequence[dict[str, Any]],
    ways: Sequence[Way],
    findings: Sequence[Finding],
    commands: Sequence[str],
) -> RenderableType:
    """Return the plan as a person reads it."""
    from rich.console import Group

    return Group(
        task_table(tasks, WORDS),
        _cost_table(costs),
        *(_quota_line(row) for row in quota),
        *([] if any(finding.what.startswith("your roles") for finding in findings) else [_ACCESS]),
        _way_table(ways, findings),
        *(f"{finding}\n" for finding in findings),
        "next: " + commands[0],
        *(f"      {command}" for command in commands[1:]),
    )


_ACCESS = "access: your roles allow all of it"


def _cost_table(costs: Sequence[dict[str, Any]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("costs (US dollars)", "on", "an hour", "a day", "takes"):
        table.add_column(title, justify="right" if title in ("an hour", "a day") else "left")
    for cost in costs:
        dollars = [cost["dollars_per_hour"], cost["dollars_per_day"]]
        prices = ["unknown" if price is None else f"{price:.2f}" for price in dollars]
        table.add_row(cost["what"], f"{cost['count']} x {cost['size']}", *prices, cost["time"])
    table.add_row("storage, container registry, logs", "", "by use", "", "made by up in minutes")
    return table


def _way_table(ways: Sequence[Way], findings: Sequence[Finding]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("ways to fine-tune", "usable", "", box=box.SIMPLE_HEAD, pad_edge=False)
    shown = {finding.message for finding in findings}
    for way in ways:
        word = "no" if not way.usable else f"after {way.after.removeprefix('phi3flow ')}" if way.after else "yes"
        table.add_row(way.backend, Text(word), Text("\n".join(_details(way, shown))))
    return table


def _details(way: Way, shown: Collection[str]) -> list[str]:
    """Return what can be fine-tuned by a way, or why nothing can; what the findings say is not said twice."""
    reasons = [reason for reason in way.reasons if reason not in shown]
    below = ["what stands below"] if len(reasons) < len(way.reasons) else []
    models = [", ".join(way.models)] if way.models else []
    closed = [f"existing customers only: {', '.join(way.existing_customers)}"] if way.existing_customers else []
    return [*reasons, *below, *models, *closed, *([way.note] if way.note else [])]


def _quota_line(row: dict[str, Any]) -> str:
    idle = f", {row['idle']} of them by idle nodes" if row["idle"] else ""
    needs = [
        f"{purpose} takes {row[key]}"
        for key, purpose in (("fine_tune", "the fine-tune"), ("deployment", "the endpoint"))
        if row[key]
    ]
    if row["reserve"] > row["deployment"]:
        needs.append(f"{row['reserve']} with the reserve for upgrades")
    return f"quota: {row['used']} of {row['limit']} cores of {row['name']} used{idle}; {', '.join(needs)}"


def _size(requirement: Requirement) -> tuple[str, int] | None:
    """Return the VM size that something runs on, and how many at most."""
    from phi3flow.azure.foundation.resources import Resource

    if not isinstance(requirement, Resource) or not requirement.vm_size:
        return None
    return requirement.vm_size, requirement.nodes


def _dollars(price: float | None, count: int) -> float | None:
    return None if price is None else round(price * count, 4)
