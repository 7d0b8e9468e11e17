"""Make what a project needs in Azure, show it, or delete it.

plan looks at what exists, and prints what up would make or change, what it costs, and what stands in the way; it
changes nothing. up does it, and goes on where it was interrupted. down deletes what up and deploy made, endpoints
first; the resource group stays, and so does whatever phi3flow did not make. `phi3flow azure plan --help` shows the
settings.

Examples:
  export AZURE_SUBSCRIPTION_ID=$(az account show --query id --output tsv)
  phi3flow azure plan
  phi3flow azure up --yes
  phi3flow azure status --json
  phi3flow azure down

Exit codes: 0 done, or nothing stands in the way; 1 plan: something does, or the question was answered with no; 2
settings; 3 Azure.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

    from phi3flow.azure.foundation.plan import Task
    from phi3flow.azure.foundation.provision import Event
    from phi3flow.azure.foundation.resources import Requirement
    from phi3flow.azure.preflight.findings import Finding
    from phi3flow.azure.settings import AzureSettings
    from phi3flow.azure.workspace.workspace import Workspace

EXAMPLE = """\
# phi3flow.toml: only subscription_id is needed; a variable of the environment or .env (in brackets) wins.
[azure]
subscription_id = "00000000-0000-0000-0000-000000000000"  # [AZURE_SUBSCRIPTION_ID] az account show --query id
resource_group = "phi3flow"                               # [AZURE_RESOURCE_GROUP] made where it is missing
location = "eastus2"                                      # [AZURE_LOCATION] serverless fine-tunes need eastus2
workspace = "phi3flow"                                    # [AZUREML_WORKSPACE_NAME] of Azure Machine Learning
hub = "phi3flow-hub"                                      # [AZUREAI_HUB_NAME] of AI Foundry
project = "phi3flow-project"                              # [AZUREAI_PROJECT_NAME] of AI Foundry
identity = "phi3flow-identity"                            # [AZUREML_IDENTITY_NAME] the endpoint acts as it
compute = "gpu-cluster"                                   # [AZUREML_COMPUTE_NAME] where fine-tunes run
batch_compute = "gpu-cluster"                             # [AZUREML_BATCH_COMPUTE_NAME] batch-run --engine azureml
fine_tune_size = "Standard_NC24ads_A100_v4"               # [AZUREML_FINE_TUNE_SIZE] VM size of its nodes
max_nodes = 1                                             # [AZUREML_MAX_NODES] it grows to
endpoint = "phi3flow-0a1b2"                               # [AZUREML_ENDPOINT_NAME] one in a region: has a hash
deployment_size = "Standard_NC24ads_A100_v4"              # [AZUREML_DEPLOYMENT_SIZE] VM size of its instances
instances = 1                                             # [AZUREML_INSTANCES]
model = "Phi-4-mini-instruct"                             # [AZUREML_MODEL_NAME] of the registry
model_label = "latest"                                    # or a version's number: "15" of Phi-3-mini-4k-instruct
registry = "azureml"
component = "chat_completion_pipeline"                    # of the registry: fine-tunes the model
component_label = "latest"                                # or a version's number
# storage_account, key_vault, container_registry, application_insights, log_analytics: names of the workspace's
# resources, made where they are missing; by default derived from the workspace's
# openai_account = "phi3flow-openai"                      # an Azure OpenAI resource, only where it is named
"""

_WORDS = {"create": "create", "change": "change"}
STATES = {
    "create": "missing",
    "change": "differs",
    "wait": "is being made",
    "exists": "exists",
    "foreign": "exists, not made by phi3flow",
    "hidden": "not to be seen",
}


def add_arguments(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Add the actions, and return their parsers: each takes the flags that all verbs have."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    plan = actions.add_parser(
        "plan",
        help="print what up would make or change, and what stands in the way",
        description=f"Print what up would make or change. The settings, with their defaults:\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = [
        plan,
        actions.add_parser("up", help="make what is missing, change what differs"),
        actions.add_parser("status", help="show what there is"),
        actions.add_parser("down", help="delete what phi3flow made"),
    ]
    for action in (parsers[1], parsers[3]):
        action.add_argument("--yes", action="store_true", help="do it without asking")
    return parsers


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.azure.preflight.preflight import read_subscription
    from phi3flow.azure.workspace.workspace import open_workspace

    workspace = open_workspace()
    read_subscription(workspace)
    match args.action:
        case "plan":
            return _plan(workspace, terminal)
        case "up":
            return _up(workspace, terminal, yes=args.yes)
        case "status":
            return _status(workspace, terminal)
    return _down(workspace, terminal, yes=args.yes)


def _plan(workspace: Workspace, terminal: Terminal) -> int:
    from rich.console import Group

    from phi3flow.azure.foundation.plan import make_plan
    from phi3flow.azure.preflight.preflight import check_all
    from phi3flow.azure.prices import hourly_price

    settings, tasks = workspace.settings, make_plan(workspace)
    findings = check_all(workspace, tasks)
    sizes = {settings.fine_tune_size, settings.deployment_size}
    prices = {size: hourly_price(size, workspace.location) for size in sorted(sizes)}
    errors = [finding for finding in findings if finding.severity == "error"]
    data = {
        "resources": [_row(task) for task in tasks],
        "costs": _costs(settings, prices),
        "findings": [finding.model_dump() for finding in findings],
    }
    text = Group(_table(tasks, _WORDS), _cost_text(data["costs"]), *map(str, findings))
    terminal.result(data, text)
    return 1 if errors else 0


def _up(workspace: Workspace, terminal: Terminal, *, yes: bool) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    tasks = make_plan(workspace)
    todo = [task for task in tasks if task.is_open]
    if todo:
        _refuse(workspace, tasks)
        if not yes:
            terminal.note(_table(todo, _WORDS))
        question = f"Make or change these {len(todo)} in subscription {workspace.settings.subscription_id}?"
        if not terminal.confirm(question, yes=yes):
            return 1
        _make(workspace, tasks, terminal)
    terminal.result(
        {"made": [_row(task) for task in todo], "resources": [_row(task) for task in tasks]},
        f"{len(todo)} made or changed, {len(tasks) - len(todo)} were there already" if todo else "everything is there",
    )
    return 0


def _make(workspace: Workspace, tasks: list[Task], terminal: Terminal) -> None:
    """Register providers first, since without them Azure does not tell sizes and quota; then make the rest."""
    from phi3flow.azure.foundation.plan import look_again
    from phi3flow.azure.foundation.provision import make_all
    from phi3flow.azure.foundation.resources import Registration

    todo = [task.requirement for task in tasks if task.is_open]
    registrations = [requirement for requirement in todo if isinstance(requirement, Registration)]
    with _Display(terminal, "made") as display:
        if registrations:
            make_all(workspace.arm, registrations, on_event=display.show)
            tasks = look_again(workspace.arm, tasks)
        for warning in _refuse(workspace, tasks):
            terminal.note(str(warning))
        make_all(
            workspace.arm,
            [requirement for requirement in todo if requirement not in registrations],
            on_event=display.show,
        )


def _refuse(workspace: Workspace, tasks: list[Task]) -> list[Finding]:
    """Raise PreflightError where something stands in the way; return the warnings."""
    from phi3flow.azure.preflight.findings import refuse
    from phi3flow.azure.preflight.preflight import check_all

    return refuse(check_all(workspace, tasks))


def _status(workspace: Workspace, terminal: Terminal) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    tasks = make_plan(workspace)
    rows = [{**_row(task), "state": STATES[task.condition.action]} for task in tasks]
    terminal.result(rows, _table(tasks, STATES))
    return 0


def _down(workspace: Workspace, terminal: Terminal, *, yes: bool) -> int:
    from phi3flow.azure.foundation.provision import remove_all
    from phi3flow.azure.foundation.removal import plan_removal

    removal = plan_removal(workspace)
    for resource, reason in removal.kept:
        terminal.note(f"kept: {resource.label} {resource.name}: {reason}")
    names = [f"{resource.label} {resource.name}" for resource in removal.remove]
    if names:
        terminal.note("To be deleted, with all that is in it:\n  " + "\n  ".join(names))
        question = f"Delete these {len(names)}, for good, from subscription {workspace.settings.subscription_id}?"
        if not terminal.confirm(question, yes=yes):
            return 1
        with _Display(terminal, "deleted") as display:
            remove_all(workspace.arm, removal.remove, on_event=display.show)
    terminal.result(
        {
            "deleted": [_named(resource) for resource in removal.remove],
            "kept": [{**_named(resource), "reason": reason} for resource, reason in removal.kept],
        },
        f"{len(names)} deleted; the resource group {workspace.settings.resource_group} stays"
        if names
        else "nothing to delete",
    )
    return 0


class _Display:
    """What is under way: a spinner for each on a terminal; everywhere a line for each that is done.

    ``outcome`` is what has happened to one that is done, such as made.
    """

    def __init__(self, terminal: Terminal, outcome: str) -> None:
        from rich.progress import SpinnerColumn, TimeElapsedColumn

        self._terminal, self._outcome = terminal, outcome
        self._spinners = terminal.progress(SpinnerColumn(), "{task.description}", TimeElapsedColumn(), transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._spinners.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._spinners.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        name = f"{event.requirement.label} {event.requirement.name}"
        if event.stage == "begun":
            self._tasks[event.requirement.key] = self._spinners.add_task(name, total=None)
            return
        self._spinners.remove_task(self._tasks.pop(event.requirement.key))
        self._terminal.note(f"{name}: {self._outcome if event.stage == 'done' else 'failed'}, {event.seconds:.0f} s")


def _named(requirement: Requirement) -> dict[str, Any]:
    return {"resource": requirement.label, "name": requirement.name, "id": requirement.id}


def _row(task: Task) -> dict[str, Any]:
    row = {**_named(task.requirement), "action": task.condition.action, "differences": list(task.condition.differences)}
    size = _size(task.requirement)
    return {**row, "size": size[0], "nodes": size[1]} if size else row


def _size(requirement: Requirement) -> tuple[str, int] | None:
    """Return the VM size that something runs on, and how many at most."""
    from phi3flow.azure.foundation.resources import Resource

    if not isinstance(requirement, Resource) or not requirement.vm_size:
        return None
    return requirement.vm_size, requirement.nodes


def _table(tasks: list[Task], words: dict[str, str]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "name", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for task in tasks:
        size = _size(task.requirement)
        details = [f"{size[0]}, at most {size[1]} nodes"] if size else []
        details += task.condition.differences if task.condition.action == "change" else []
        word = words.get(task.condition.action, STATES[task.condition.action])
        table.add_row(word, task.requirement.label, Text(task.requirement.name), Text("; ".join(details)))
    return table


def _costs(settings: AzureSettings, prices: dict[str, float | None]) -> list[dict[str, Any]]:
    """Return what is billed by the hour, in dollars an hour and a day; None where the price is not known."""
    from phi3flow.azure.prices import HOURS

    rows = (
        ("compute cluster, while a fine-tune runs", settings.fine_tune_size, settings.max_nodes),
        ("endpoint, from deploy to undeploy", settings.deployment_size, settings.instances),
    )
    return [
        {
            "what": purpose,
            "size": size,
            "count": count,
            "dollars_per_hour": _dollars(prices[size], count),
            "dollars_per_day": _dollars(prices[size], count * HOURS),
        }
        for purpose, size, count in rows
    ]


def _dollars(price: float | None, hours: int) -> float | None:
    return None if price is None else round(price * hours, 4)


def _cost_text(costs: list[dict[str, Any]]) -> str:
    lines = ["what it costs (list prices, US dollars):"]
    for cost in costs:
        hour, day = cost["dollars_per_hour"], cost["dollars_per_day"]
        price = "unknown" if hour is None else f"{hour:.2f} an hour, {day:.2f} a day"
        lines.append(f"  {cost['what']}: {cost['count']} x {cost['size']}: {price}")
    return "\n".join([*lines, "  storage, container registry, logs: by use; see the Azure pricing calculator"])
