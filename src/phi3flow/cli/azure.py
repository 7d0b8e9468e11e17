"""Make what a project needs in Azure, show it, or delete it.

plan looks at what exists, and prints what up would make or change, what it costs, how long it takes, quota and access,
by which backends you can fine-tune, what stands in the way and what to type; it changes nothing. up does it, and goes
on where it was interrupted. down deletes what up and deploy made, endpoints first; the resource group stays, and so
does whatever phi3flow did not make. `phi3flow azure plan --help` shows the settings.

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
from typing import TYPE_CHECKING

from phi3flow.cli.terminal.azure_plan import STATES, WORDS, cost_rows, named, plan_view, task_row, task_table
from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import TaskID

    from phi3flow.azure.foundation.plan import Task
    from phi3flow.azure.foundation.provision import Event
    from phi3flow.azure.preflight.findings import Finding
    from phi3flow.azure.workspace.workspace import Workspace

EXAMPLE = """\
# phi3flow.toml: only subscription_id is needed; a variable of the environment or .env (in brackets) wins.
[azure]
subscription_id = "00000000-0000-0000-0000-000000000000"  # [AZURE_SUBSCRIPTION_ID] az account show --query id
resource_group = "phi3flow"                               # [AZURE_RESOURCE_GROUP] made where it is missing
location = "eastus2"                                      # [AZURE_LOCATION] plan says what fine-tunes there
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
# openai_account = "phi3flow-openai"                      # [AZURE_OPENAI_ACCOUNT] made only where it is named
# openai_model = "Ministral-3B"                           # [AZURE_OPENAI_MODEL] what azure-openai fine-tunes
"""


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
    from phi3flow.azure.foundation.plan import make_plan
    from phi3flow.azure.preflight.catalog_checks import ModelLook
    from phi3flow.azure.preflight.preflight import check_all
    from phi3flow.azure.preflight.size_checks import Capacity, list_quota
    from phi3flow.azure.preflight.ways import list_ways
    from phi3flow.azure.prices import hourly_price
    from phi3flow.project.environment import project_environment
    from phi3flow.project.paths import PROJECT

    settings, tasks, capacity, look = (
        workspace.settings,
        make_plan(workspace),
        Capacity(workspace),
        ModelLook(workspace),
    )
    checked = check_all(capacity, look, tasks)
    ways = list_ways(look, tasks, checked, project_environment(PROJECT))
    findings = [*checked.findings, *ways.findings]
    sizes = {settings.fine_tune_size, settings.deployment_size}
    costs = cost_rows(settings, {size: hourly_price(size, workspace.location) for size in sorted(sizes)})
    quota, is_open = list_quota(capacity), any(task.is_open for task in tasks)
    errors = [finding for finding in findings if finding.severity == "error"]
    commands = _next(has_errors=bool(errors), is_open=is_open)
    data = {
        "resources": [task_row(task) for task in tasks],
        "costs": costs,
        "quota": quota,
        "ways": [way.model_dump() for way in ways.ways],
        "findings": [finding.model_dump() for finding in findings],
        "next": commands,
    }
    terminal.result(data, plan_view(tasks, costs, quota, ways.ways, findings, commands))
    return 1 if errors else 0


def _next(*, has_errors: bool, is_open: bool) -> list[str]:
    """Return what to type after a plan."""
    if has_errors:
        return ["mend what stands above as error, then phi3flow azure plan"]
    verbs = ["fine-tune", "register", "deploy"]
    up = ["phi3flow azure up"] if is_open else []
    return [*up, *(f"phi3flow {verb} --backend azureml" for verb in verbs)]


def _up(workspace: Workspace, terminal: Terminal, *, yes: bool) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    tasks = make_plan(workspace)
    todo = [task for task in tasks if task.is_open]
    if todo:
        _refuse(workspace, tasks)
        if not yes:
            terminal.note(task_table(todo, WORDS))
        question = f"Make or change these {len(todo)} in subscription {workspace.settings.subscription_id}?"
        if not terminal.confirm(question, yes=yes):
            return 1
        _make(workspace, tasks, terminal)
    terminal.result(
        {"made": [task_row(task) for task in todo], "resources": [task_row(task) for task in tasks]},
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
    from phi3flow.azure.preflight.catalog_checks import ModelLook
    from phi3flow.azure.preflight.findings import refuse
    from phi3flow.azure.preflight.preflight import check_all
    from phi3flow.azure.preflight.size_checks import Capacity

    return refuse(check_all(Capacity(workspace), ModelLook(workspace), tasks).findings)


def _status(workspace: Workspace, terminal: Terminal) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    tasks = make_plan(workspace)
    rows = [{**task_row(task), "state": STATES[task.condition.action]} for task in tasks]
    terminal.result(rows, task_table(tasks, STATES))
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
            "deleted": [named(resource) for resource in removal.remove],
            "kept": [{**named(resource), "reason": reason} for resource, reason in removal.kept],
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
