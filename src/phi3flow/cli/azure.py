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

    from phi3flow.azure.arm import Arm
    from phi3flow.azure.foundation.plan import Step
    from phi3flow.azure.foundation.provision import Event
    from phi3flow.azure.foundation.resources import Wanted
    from phi3flow.azure.preflight.findings import Finding
    from phi3flow.azure.settings import AzureSettings

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
model = "Phi-3-mini-4k-instruct"                          # [AZUREML_MODEL_NAME] of the registry
model_label = "latest"                                    # or a version's number
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
    from phi3flow.azure.arm import log_in
    from phi3flow.azure.preflight.preflight import read_subscription
    from phi3flow.azure.settings import load_settings

    settings = load_settings()
    arm = log_in()
    read_subscription(arm, settings)
    match args.action:
        case "plan":
            return _plan(arm, settings, terminal)
        case "up":
            return _up(arm, settings, terminal, yes=args.yes)
        case "status":
            return _status(arm, settings, terminal)
    return _down(arm, settings, terminal, yes=args.yes)


def _plan(arm: Arm, settings: AzureSettings, terminal: Terminal) -> int:
    from rich.console import Group

    from phi3flow.azure.foundation.plan import make_plan
    from phi3flow.azure.preflight.preflight import check_all
    from phi3flow.azure.prices import hourly_price

    steps = make_plan(arm, settings)
    findings = check_all(arm, settings, steps)
    sizes = {settings.fine_tune_size, settings.deployment_size}
    prices = {size: hourly_price(size, settings.location) for size in sorted(sizes)}
    errors = [finding for finding in findings if finding.severity == "error"]
    data = {
        "resources": [_row(step) for step in steps],
        "costs": _costs(settings, prices),
        "findings": [finding.model_dump() for finding in findings],
    }
    text = Group(_table(steps, _WORDS), _cost_text(data["costs"]), *map(str, findings))
    terminal.result(data, text)
    return 1 if errors else 0


def _up(arm: Arm, settings: AzureSettings, terminal: Terminal, *, yes: bool) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    steps = make_plan(arm, settings)
    todo = [step for step in steps if step.is_open]
    if todo:
        _refuse(arm, settings, steps)
        if not yes:
            terminal.note(_table(todo, _WORDS))
        question = f"Make or change these {len(todo)} in subscription {settings.subscription_id}?"
        if not terminal.confirm(question, yes=yes):
            return 1
        _make(arm, settings, steps, terminal)
    made = [_row(step) for step in todo]
    terminal.result(
        {"made": made, "resources": [_row(step) for step in steps]},
        f"{len(todo)} made or changed, {len(steps) - len(todo)} were there already" if todo else "everything is there",
    )
    return 0


def _make(arm: Arm, settings: AzureSettings, steps: list[Step], terminal: Terminal) -> None:
    """Register providers first, since without them Azure does not tell sizes and quota; then make the rest."""
    from phi3flow.azure.foundation.plan import look_at_again
    from phi3flow.azure.foundation.provision import make_all
    from phi3flow.azure.foundation.resources import Registration

    todo = [step.wanted for step in steps if step.is_open]
    registrations = [each for each in todo if isinstance(each, Registration)]
    with _Display(terminal, "made") as display:
        if registrations:
            make_all(arm, registrations, on_event=display.show)
            steps = look_at_again(arm, steps)
        for warning in _refuse(arm, settings, steps):
            terminal.note(str(warning))
        make_all(arm, [each for each in todo if each not in registrations], on_event=display.show)


def _refuse(arm: Arm, settings: AzureSettings, steps: list[Step]) -> list[Finding]:
    """Raise PreflightError where something stands in the way; return the warnings."""
    from phi3flow.azure.preflight.findings import refuse
    from phi3flow.azure.preflight.preflight import check_all

    return refuse(check_all(arm, settings, steps))


def _status(arm: Arm, settings: AzureSettings, terminal: Terminal) -> int:
    from phi3flow.azure.foundation.plan import make_plan

    steps = make_plan(arm, settings)
    rows = [{**_row(step), "state": STATES[step.found.action]} for step in steps]
    terminal.result(rows, _table(steps, STATES))
    return 0


def _down(arm: Arm, settings: AzureSettings, terminal: Terminal, *, yes: bool) -> int:
    from phi3flow.azure.foundation.provision import remove_all
    from phi3flow.azure.foundation.removal import plan_removal

    removal = plan_removal(arm, settings)
    for each, reason in removal.kept:
        terminal.note(f"kept: {each.label} {each.name}: {reason}")
    names = [f"{each.label} {each.name}" for each in removal.remove]
    if names:
        terminal.note("To be deleted, with all that is in it:\n  " + "\n  ".join(names))
        question = f"Delete these {len(names)}, for good, from subscription {settings.subscription_id}?"
        if not terminal.confirm(question, yes=yes):
            return 1
        with _Display(terminal, "deleted") as display:
            remove_all(arm, removal.remove, on_event=display.show)
    terminal.result(
        {
            "deleted": [_named(each) for each in removal.remove],
            "kept": [{**_named(each), "reason": reason} for each, reason in removal.kept],
        },
        f"{len(names)} deleted; the resource group {settings.resource_group} stays" if names else "nothing to delete",
    )
    return 0


class _Display:
    """What is under way: a spinner for each on a terminal; everywhere a line for each that is done."""

    def __init__(self, terminal: Terminal, done: str) -> None:
        from rich.progress import SpinnerColumn, TimeElapsedColumn

        self._terminal, self._done = terminal, done
        self._spinners = terminal.progress(SpinnerColumn(), "{task.description}", TimeElapsedColumn(), transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._spinners.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._spinners.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        name = f"{event.wanted.label} {event.wanted.name}"
        if event.what == "begun":
            self._tasks[event.wanted.key] = self._spinners.add_task(name, total=None)
            return
        self._spinners.remove_task(self._tasks.pop(event.wanted.key))
        self._terminal.note(f"{name}: {self._done if event.what == 'done' else 'failed'}, {event.seconds:.0f} s")


def _named(wanted: Wanted) -> dict[str, Any]:
    return {"resource": wanted.label, "name": wanted.name, "id": wanted.id}


def _row(step: Step) -> dict[str, Any]:
    row = {**_named(step.wanted), "action": step.found.action, "differences": list(step.found.differences)}
    size = _size(step.wanted)
    return {**row, "size": size[0], "nodes": size[1]} if size else row


def _size(wanted: Wanted) -> tuple[str, int] | None:
    """Return the VM size that something runs on, and how many at most."""
    from phi3flow.azure.foundation.resources import Resource

    return (wanted.vm_size, wanted.nodes) if isinstance(wanted, Resource) and wanted.vm_size else None


def _table(steps: list[Step], words: dict[str, str]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "name", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for step in steps:
        size = _size(step.wanted)
        details = [f"{size[0]}, at most {size[1]} nodes"] if size else []
        details += step.found.differences if step.found.action == "change" else []
        word = words.get(step.found.action, STATES[step.found.action])
        table.add_row(word, step.wanted.label, Text(step.wanted.name), Text("; ".join(details)))
    return table


def _costs(settings: AzureSettings, prices: dict[str, float | None]) -> list[dict[str, Any]]:
    """Return what is billed by the hour, in dollars; None where the price is not known."""
    rows = (
        ("compute cluster, while a fine-tune runs", settings.fine_tune_size, settings.max_nodes),
        ("endpoint, from deploy to undeploy", settings.deployment_size, settings.instances),
    )
    return [
        {
            "what": what,
            "size": size,
            "count": count,
            "dollars_per_hour": None if prices[size] is None else round(float(prices[size] or 0.0) * count, 4),
        }
        for what, size, count in rows
    ]


def _cost_text(costs: list[dict[str, Any]]) -> str:
    lines = ["by the hour (list prices, US dollars):"]
    for cost in costs:
        known = cost["dollars_per_hour"]
        price = "unknown" if known is None else f"{known:.2f}"
        lines.append(f"  {cost['what']}: {cost['count']} x {cost['size']}: {price}")
    return "\n".join([*lines, "  storage, container registry, logs: by use; see the Azure pricing calculator"])
