"""What stands in the way, found out before anything is made: each finding says what, why it fails, and what to type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.foundation.inventory import PROVIDERS
from phi3flow.azure.foundation.plan import AT_ONCE, Task
from phi3flow.azure.foundation.resources import Registration, Resource, RoleAssignment
from phi3flow.azure.preflight.catalog_checks import ModelLook, check_catalog
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.idle_nodes import check_resting_nodes
from phi3flow.azure.preflight.permissions import list_permissions, may
from phi3flow.azure.preflight.size_checks import Capacity, check_deployment_size, check_fine_tune_size, check_sizes
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.endpoints import OnlineEndpoint
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import ForbiddenError, PreflightError

SUBSCRIPTION_VERSION = "2022-12-01"
_WITHOUT_GPUS = ("FreeTrial", "AzureForStudents", "AzurePass", "MSDN", "DreamSpark", "BizSpark", "Sponsored")
_ML = "Microsoft.MachineLearningServices"
_AVAILABILITY = {
    "Microsoft.Storage/storageAccounts": ("Microsoft.Storage/checkNameAvailability", "2023-05-01"),
    "Microsoft.KeyVault/vaults": ("Microsoft.KeyVault/checkNameAvailability", "2023-07-01"),
    "Microsoft.ContainerRegistry/registries": ("Microsoft.ContainerRegistry/checkNameAvailability", "2023-07-01"),
}
_GRANTING = "Owner, User Access Administrator or Role Based Access Control Administrator"


@dataclass(frozen=True)
class Checked:
    """What was found, ``findings`` being all of it. Of it, ``disabled`` and ``without_gpus`` are the subscription's,
    beside which nothing else was looked for, and ``machine_learning`` is about sizes, quota and the registry."""

    findings: list[Finding]
    disabled: list[Finding]
    without_gpus: list[Finding]
    machine_learning: list[Finding]


def check_all(capacity: Capacity, look: ModelLook, tasks: Sequence[Task]) -> Checked:
    """Look for everything that would make ``azure up``, a fine-tune or a deployment fail; nothing is changed."""
    workspace = capacity.workspace
    subscription = read_subscription(workspace)
    disabled, without_gpus = [*_check_state(workspace, subscription)], [*_check_offer(workspace, subscription)]
    if disabled or without_gpus:
        return Checked([*disabled, *without_gpus], disabled, without_gpus, [])
    registered = {task.requirement.name for task in tasks if _is_registration(task, "exists", "hidden")}
    findings = [*_check_permissions(workspace, tasks), *_check_names(workspace, tasks, registered)]
    findings += [*_check_tasks(tasks), *_check_hidden(workspace.settings, tasks)]
    if _ML in registered:
        machine_learning = check_sizes(capacity, check_fine_tune_size, check_deployment_size, with_deployed=True)
    else:
        machine_learning = [_sizes_unknown()]
    machine_learning += check_catalog(look)
    findings += [*machine_learning, *_check_region(workspace), *check_resting_nodes(workspace)]
    return Checked(findings, disabled, without_gpus, machine_learning)


def read_subscription(workspace: Workspace) -> dict[str, Any]:
    """Return the settings' subscription. Raises PreflightError where the caller does not see it."""
    try:
        subscription = workspace.arm.get(workspace.settings.subscription, SUBSCRIPTION_VERSION)
    except ForbiddenError:
        subscription = None
    if subscription is None:
        raise PreflightError(
            f"subscription {workspace.settings.subscription_id}: it does not exist, or you may not see it. `az account "
            "list` shows yours; set AZURE_SUBSCRIPTION_ID."
        )
    return subscription


def check_subscription(workspace: Workspace) -> Iterator[Finding]:
    """Find a subscription that is disabled, or of a kind that gets no GPUs. Raises PreflightError for none."""
    subscription = read_subscription(workspace)
    yield from _check_state(workspace, subscription)
    yield from _check_offer(workspace, subscription)


def _check_state(workspace: Workspace, subscription: Mapping[str, Any]) -> Iterator[Finding]:
    if subscription.get("state") != "Enabled":
        yield Finding.error(
            f"subscription {workspace.settings.subscription_id}",
            f"it is {subscription.get('state')}: nothing can be made in it",
            "Enable it in the portal, under Subscriptions, or set AZURE_SUBSCRIPTION_ID to another.",
        )


def _check_offer(workspace: Workspace, subscription: Mapping[str, Any]) -> Iterator[Finding]:
    """Find a kind of subscription that gets no GPUs."""
    policies = subscription.get("subscriptionPolicies") or {}
    kind = str(policies.get("quotaId", ""))
    limited = policies.get("spendingLimit") == "On"
    if limited or kind.startswith(_WITHOUT_GPUS):
        reason = "it has a spending limit" if limited else "this kind gets no GPU quota"
        yield Finding.error(
            f"subscription {workspace.settings.subscription_id} ({kind.partition('_')[0]})",
            f"{reason}: GPU sizes need a pay-as-you-go subscription",
            "Upgrade it (portal > Subscriptions > Upgrade), or set AZURE_SUBSCRIPTION_ID to another.",
        )


def check_fine_tune(workspace: Workspace) -> list[Finding]:
    """Find what would make a fine-tune in the workspace fail."""
    settings = workspace.settings
    findings = _check_workspace(workspace)
    if not findings and workspace.arm.get(f"{workspace.id}/computes/{settings.compute}", ML_VERSION) is None:
        findings.append(missing("compute cluster", settings.compute))
    return findings or [*_check_providers(workspace), *check_sizes(Capacity(workspace), check_fine_tune_size)]


def check_flow_job(workspace: Workspace, *, nodes: int) -> list[Finding]:
    """Find what would make a flow's job on ``nodes`` nodes of the workspace's cluster fail."""
    findings = _check_workspace(workspace)
    if findings:
        return findings
    name = workspace.settings.batch_compute
    cluster = workspace.arm.get(f"{workspace.id}/computes/{name}", ML_VERSION)
    if cluster is None:
        is_own = name != workspace.settings.compute
        return [missing("compute cluster", name, "Set batch_compute in phi3flow.toml to another." if is_own else "")]
    scale = (cluster["properties"].get("properties") or {}).get("scaleSettings") or {}
    most = int(scale.get("maxNodeCount", nodes))
    if nodes <= most:
        return []
    remedy = f"Give at most --workers {most}, or set max_nodes in phi3flow.toml and `phi3flow azure up`."
    return [Finding.error(f"--workers {nodes}", f"the compute cluster {name} has at most {most} nodes", remedy)]


def check_deployment(workspace: Workspace) -> list[Finding]:
    """Find what would make a new deployment in the workspace fail."""
    settings, findings = workspace.settings, _check_workspace(workspace)
    identity = settings.id_of("Microsoft.ManagedIdentity/userAssignedIdentities", settings.identity)
    if not findings and workspace.arm.get(identity, "2023-01-31") is None:
        findings.append(missing("managed identity", settings.identity))
    return findings or [*_check_providers(workspace), *check_sizes(Capacity(workspace), check_deployment_size)]


def check_endpoint(workspace: Workspace, endpoint: OnlineEndpoint) -> Iterator[Finding]:
    """Find why an existing endpoint could not be asked by its key, as a new deployment of it is at once."""
    existing = endpoint.read()
    if existing is None or existing["properties"].get("provisioningState") != "Succeeded":
        return
    mode = existing["properties"].get("authMode")
    if mode != "Key":
        yield Finding.error(
            f"endpoint {endpoint.name}",
            f"it is opened with {mode}, and phi3flow asks by key",
            "Give another endpoint with --name; one that is missing is made.",
        )
        return
    try:
        endpoint.key()
    except ForbiddenError as error:
        yield Finding.error(
            f"endpoint {endpoint.name}",
            f"you may not read its keys ({error})",
            f"Somebody who owns it types: az role assignment create --assignee {workspace.arm.caller().object_id} "
            f"--role 'AzureML Data Scientist' --scope {endpoint.id}.",
        )


def _check_providers(workspace: Workspace) -> Iterator[Finding]:
    """Find providers that the subscription has not registered: Azure would say so only after a fine-tune was paid."""
    subscription = workspace.settings.subscription
    registrations = [Registration(namespace, subscription) for namespace in PROVIDERS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        conditions = list(pool.map(lambda registration: registration.look(workspace.arm), registrations))
    missing = [
        registration.namespace
        for registration, condition in zip(registrations, conditions, strict=True)
        if condition.action == "create"
    ]
    if missing:
        yield Finding.error(
            f"providers {', '.join(missing)}",
            "the subscription has not registered them, and nothing runs or is deployed without them",
            "`phi3flow azure up` registers them, or somebody with Contributor on the subscription types "
            f"`az provider register --subscription {workspace.settings.subscription_id} --namespace NAME`.",
        )


def _check_region(workspace: Workspace) -> Iterator[Finding]:
    """Find a location of the settings that the workspace is not in: its own region counts."""
    if workspace.location != workspace.settings.location:
        yield Finding.warning(
            f"location {workspace.settings.location}",
            f"the workspace {workspace.settings.workspace} is in {workspace.location}, and so is everything with it",
            f'Set location = "{workspace.location}".',
        )


def _check_workspace(workspace: Workspace) -> list[Finding]:
    """Find what is wrong with the subscription, and a workspace that is missing."""
    findings = [*check_subscription(workspace)]
    if workspace.arm.get(workspace.id, ML_VERSION) is None:
        findings.append(missing("workspace", workspace.settings.workspace))
    return findings


def missing(label: str, name: str, remedy: str = "") -> Finding:
    """Return the finding that something of the settings is not there."""
    remedy = remedy or "`phi3flow azure up` makes it; `phi3flow azure status` looks."
    return Finding.error(f"{label} {name}", "it does not exist", remedy)


def _check_permissions(workspace: Workspace, tasks: Sequence[Task]) -> Iterator[Finding]:
    """Find what the caller may not do, by the permissions that Azure lists for the caller; one finding a role."""
    arm, settings = workspace.arm, workspace.settings
    group = next(task for task in tasks if task.requirement.key == settings.group.lower())
    scope = settings.subscription if group.condition.action == "create" else settings.group
    permissions = {target: list_permissions(arm, target) for target in dict.fromkeys((scope, settings.subscription))}
    refused: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        if task.condition.action not in ("create", "change"):
            continue
        target = settings.subscription if isinstance(task.requirement, Registration) else scope
        role = _GRANTING if isinstance(task.requirement, RoleAssignment) else "Contributor"
        if not may(_action(task.requirement), permissions[target]):
            refused.setdefault((role, target), []).append(_action(task.requirement))
    for (role, target), actions in refused.items():
        yield Finding.error(
            f"your roles on {target}",
            f"you may not do {', '.join(dict.fromkeys(actions))}",
            f"Somebody who owns it types: az role assignment create --assignee {arm.caller().object_id} --role "
            f"'{role.partition(',')[0]}' --scope {target} ({role}).",
        )


def _action(requirement: object) -> str:
    """Return the action that makes something, as roles name it."""
    match requirement:
        case Registration():
            return f"{requirement.namespace}/register/action"
        case RoleAssignment():
            return "Microsoft.Authorization/roleAssignments/write"
        case Resource(kept=True):
            return "Microsoft.Resources/subscriptions/resourceGroups/write"
        case Resource():
            return f"{_kind(requirement)}/write"
    raise TypeError(requirement)


def _kind(resource: Resource) -> str:
    namespace, *segments = resource.id.rpartition("/providers/")[2].split("/")
    return "/".join([namespace, *segments[::2]])


def _is_registration(task: Task, *actions: str) -> bool:
    return isinstance(task.requirement, Registration) and task.condition.action in actions


def _sizes_unknown() -> Finding:
    return Finding.warning(
        "VM sizes and quota",
        f"they cannot be read before the provider {_ML} is registered",
        "`phi3flow azure up` registers it, and looks at them before it makes anything.",
    )


def _check_names(workspace: Workspace, tasks: Sequence[Task], registered: Collection[str]) -> Iterator[Finding]:
    """Find names, of those that must be unique in the world, that somebody else holds."""
    for task in tasks:
        resource = task.requirement
        if not isinstance(resource, Resource) or task.condition.action != "create":
            continue
        if _kind(resource) not in _AVAILABILITY:
            continue
        reason = _why_taken(workspace, resource) if _kind(resource).partition("/")[0] in registered else None
        if reason is None or (resource.restore and _is_recoverable(workspace, resource)):
            continue
        key = resource.label.replace(" ", "_")
        yield Finding.error(
            f"{resource.label} {resource.name}",
            f"the name is not to be had ({reason}): such names are unique in the world",
            f"Set another {key} in phi3flow.toml.",
        )


def _why_taken(workspace: Workspace, resource: Resource) -> str | None:
    """Return why a name is not to be had; None where it is, or where only making it will tell the caller."""
    path, version = _AVAILABILITY[_kind(resource)]
    body = {"name": resource.name, "type": _kind(resource)}
    try:
        answer = workspace.arm.post(f"{workspace.settings.subscription}/providers/{path}", version, body)
    except ForbiddenError:
        return None
    return None if answer.get("nameAvailable", True) else str(answer.get("reason", "taken"))


def _check_hidden(settings: AzureSettings, tasks: Sequence[Task]) -> Iterator[Finding]:
    """Find providers that the caller, without a role on the subscription, cannot see registered."""
    hidden = [task.requirement.name for task in tasks if _is_registration(task, "hidden")]
    if hidden:
        yield Finding.warning(
            f"providers {', '.join(hidden)}",
            "you have no role on the subscription and may not see whether they are registered",
            "If one is not, what needs it fails; somebody with Contributor on the subscription types "
            f"`az provider register --subscription {settings.subscription_id} --namespace NAME`.",
        )


def _is_recoverable(workspace: Workspace, vault: Resource) -> bool:
    """Whether the name is held by our own vault, which was deleted and will be recovered."""
    location = f"{workspace.settings.subscription}/providers/Microsoft.KeyVault/locations/{workspace.location}"
    return workspace.arm.get(f"{location}/deletedVaults/{vault.name}", vault.version) is not None


def _check_tasks(tasks: Sequence[Task]) -> Iterator[Finding]:
    """Find what exists and is not as the settings have it, where no change can mend it."""
    for task in tasks:
        name = f"{task.requirement.label} {task.requirement.name}"
        if task.condition.fixed:
            yield Finding.error(
                name,
                f"it exists, and {'; '.join(task.condition.fixed)}, which cannot be changed",
                "Set phi3flow.toml as it is, give another name, or delete it first (`phi3flow azure down`).",
            )
        elif task.condition.action == "foreign" and task.condition.differences:
            yield Finding.warning(
                name,
                f"phi3flow did not make it and leaves it as it is, and {'; '.join(task.condition.differences)}",
                "Change it yourself, or give another name.",
            )
