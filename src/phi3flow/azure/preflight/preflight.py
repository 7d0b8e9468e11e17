"""What stands in the way, found out before anything is made: each finding says what, why it fails, and what to type."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.foundation.plan import Step
from phi3flow.azure.foundation.resources import ROLES_VERSION, Registration, Resource, RoleAssignment
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.retired_models import check_model
from phi3flow.azure.preflight.size_checks import check_deployment_size, check_fine_tune_size, check_sizes
from phi3flow.azure.settings import AzureSettings
from phi3flow.errors import ForbiddenError, PreflightError

SUBSCRIPTION_VERSION = "2022-12-01"
_WITHOUT_GPUS = ("FreeTrial", "AzureForStudents", "AzurePass", "MSDN", "DreamSpark", "BizSpark", "Sponsored")
_SERVERLESS_REGION = "eastus2"
_ML = "Microsoft.MachineLearningServices"
_AVAILABILITY = {
    "Microsoft.Storage/storageAccounts": ("Microsoft.Storage/checkNameAvailability", "2023-05-01"),
    "Microsoft.KeyVault/vaults": ("Microsoft.KeyVault/checkNameAvailability", "2023-07-01"),
    "Microsoft.ContainerRegistry/registries": ("Microsoft.ContainerRegistry/checkNameAvailability", "2023-07-01"),
}
_GRANTING = "Owner, User Access Administrator or Role Based Access Control Administrator"


def check_all(arm: Arm, settings: AzureSettings, steps: Sequence[Step]) -> list[Finding]:
    """Look for everything that would make ``azure up``, a fine-tune or a deployment fail; nothing is changed."""
    findings = [*check_subscription(arm, settings)]
    if findings:
        return findings
    registered = {step.wanted.name for step in steps if _is_registration(step, "exists", "hidden")}
    findings += _check_permissions(arm, settings, steps)
    findings += _check_names(arm, settings, steps, registered)
    findings += _check_steps(steps)
    findings += _check_hidden(settings, steps)
    if _ML in registered:
        findings += check_sizes(arm, settings, check_fine_tune_size, check_deployment_size)
    else:
        findings.append(_sizes_unknown())
    findings += check_model(settings)
    if settings.location != _SERVERLESS_REGION:
        findings.append(
            Finding.warning(
                f"location {settings.location}",
                f"serverless fine-tunes need a hub in {_SERVERLESS_REGION}; everything else works",
                f'For them set location = "{_SERVERLESS_REGION}".',
            )
        )
    return findings


def read_subscription(arm: Arm, settings: AzureSettings) -> dict[str, Any]:
    """Return the settings' subscription. Raises PreflightError where the caller does not see it."""
    try:
        found = arm.get(settings.subscription, SUBSCRIPTION_VERSION)
    except ForbiddenError:
        found = None
    if found is None:
        raise PreflightError(
            f"subscription {settings.subscription_id}: it does not exist, or you may not see it. `az account list` "
            "shows yours; set AZURE_SUBSCRIPTION_ID."
        )
    return found


def check_subscription(arm: Arm, settings: AzureSettings) -> Iterator[Finding]:
    """Find a subscription that is disabled, or of a kind that gets no GPUs. Raises PreflightError for none."""
    found = read_subscription(arm, settings)
    if found.get("state") != "Enabled":
        yield Finding.error(
            f"subscription {settings.subscription_id}",
            f"it is {found.get('state')}: nothing can be made in it",
            "Enable it in the portal, under Subscriptions, or set AZURE_SUBSCRIPTION_ID to another.",
        )
    policies = found.get("subscriptionPolicies") or {}
    kind = str(policies.get("quotaId", ""))
    limited = policies.get("spendingLimit") == "On"
    if limited or kind.startswith(_WITHOUT_GPUS):
        reason = "it has a spending limit" if limited else "this kind gets no GPU quota"
        yield Finding.error(
            f"subscription {settings.subscription_id} ({kind.partition('_')[0]})",
            f"{reason}: GPU sizes need a pay-as-you-go subscription",
            "Upgrade it (portal > Subscriptions > Upgrade), or set AZURE_SUBSCRIPTION_ID to another.",
        )


def check_fine_tune(arm: Arm, settings: AzureSettings) -> list[Finding]:
    """Find what would make a fine-tune in the workspace fail."""
    cluster = f"{settings.workspace_id(settings.workspace)}/computes/{settings.compute}"
    findings = _check_workspace(arm, settings)
    if not findings and arm.get(cluster, ML_VERSION) is None:
        findings.append(_missing("compute cluster", settings.compute))
    return findings or [*check_sizes(arm, settings, check_fine_tune_size), *check_model(settings)]


def check_flow_job(arm: Arm, settings: AzureSettings, *, nodes: int) -> list[Finding]:
    """Find what would make a flow's job on ``nodes`` nodes of the workspace's cluster fail."""
    findings = _check_workspace(arm, settings)
    if findings:
        return findings
    name = settings.batch_compute
    cluster = arm.get(f"{settings.workspace_id(settings.workspace)}/computes/{name}", ML_VERSION)
    if cluster is None:
        another = "Set batch_compute in phi3flow.toml to another." if name != settings.compute else ""
        return [_missing("compute cluster", name, another)]
    scale = (cluster["properties"].get("properties") or {}).get("scaleSettings") or {}
    most = int(scale.get("maxNodeCount", nodes))
    if nodes <= most:
        return []
    remedy = f"Give at most --workers {most}, or set max_nodes in phi3flow.toml and `phi3flow azure up`."
    return [Finding.error(f"--workers {nodes}", f"the compute cluster {name} has at most {most} nodes", remedy)]


def check_deployment(arm: Arm, settings: AzureSettings) -> list[Finding]:
    """Find what would make a new deployment in the workspace fail."""
    findings = _check_workspace(arm, settings)
    identity = settings.id_of("Microsoft.ManagedIdentity/userAssignedIdentities", settings.identity)
    if not findings and arm.get(identity, "2023-01-31") is None:
        findings.append(_missing("managed identity", settings.identity))
    return findings or check_sizes(arm, settings, check_deployment_size)


def _check_workspace(arm: Arm, settings: AzureSettings) -> list[Finding]:
    """Find what is wrong with the subscription, and a workspace that is missing."""
    findings = [*check_subscription(arm, settings)]
    if arm.get(settings.workspace_id(settings.workspace), ML_VERSION) is None:
        findings.append(_missing("workspace", settings.workspace))
    return findings


def _missing(label: str, name: str, remedy: str = "") -> Finding:
    made = "`phi3flow azure up` makes it; `phi3flow azure status` looks."
    return Finding.error(f"{label} {name}", "it does not exist", remedy or made)


def _check_permissions(arm: Arm, settings: AzureSettings, steps: Sequence[Step]) -> Iterator[Finding]:
    """Find what the caller may not do, by the permissions that Azure lists for the caller; one finding a role."""
    group = next(step for step in steps if step.wanted.key == settings.group.lower())
    scope = settings.subscription if group.found.action == "create" else settings.group
    permissions = {each: _permissions(arm, each) for each in dict.fromkeys((scope, settings.subscription))}
    refused: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        if step.found.action not in ("create", "change"):
            continue
        place = settings.subscription if isinstance(step.wanted, Registration) else scope
        role = _GRANTING if isinstance(step.wanted, RoleAssignment) else "Contributor"
        if not _may(_action(step.wanted), permissions[place]):
            refused.setdefault((role, place), []).append(_action(step.wanted))
    for (role, place), actions in refused.items():
        yield Finding.error(
            f"your roles on {place}",
            f"you may not do {', '.join(dict.fromkeys(actions))}",
            f"Somebody who owns it types: az role assignment create --assignee {arm.caller().object_id} --role "
            f"'{role.partition(',')[0]}' --scope {place} ({role}).",
        )


def _permissions(arm: Arm, scope: str) -> list[dict[str, Any]]:
    return list(arm.list(f"{scope}/providers/Microsoft.Authorization/permissions", ROLES_VERSION))


def _may(action: str, permissions: Sequence[Mapping[str, Any]]) -> bool:
    def matches(patterns: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)

    return any(matches(each.get("actions", ())) and not matches(each.get("notActions", ())) for each in permissions)


def _action(wanted: object) -> str:
    """Return the action that makes something, as roles name it."""
    match wanted:
        case Registration():
            return f"{wanted.namespace}/register/action"
        case RoleAssignment():
            return "Microsoft.Authorization/roleAssignments/write"
        case Resource(kept=True):
            return "Microsoft.Resources/subscriptions/resourceGroups/write"
        case Resource():
            return f"{_kind(wanted)}/write"
    raise TypeError(wanted)


def _kind(resource: Resource) -> str:
    namespace, *segments = resource.id.rpartition("/providers/")[2].split("/")
    return "/".join([namespace, *segments[::2]])


def _is_registration(step: Step, *actions: str) -> bool:
    return isinstance(step.wanted, Registration) and step.found.action in actions


def _sizes_unknown() -> Finding:
    return Finding.warning(
        "VM sizes and quota",
        f"they cannot be read before the provider {_ML} is registered",
        "`phi3flow azure up` registers it, and looks at them before it makes anything.",
    )


def _check_names(
    arm: Arm, settings: AzureSettings, steps: Sequence[Step], registered: Collection[str]
) -> Iterator[Finding]:
    """Find names, of those that must be unique in the world, that somebody else holds."""
    for step in steps:
        wanted = step.wanted
        if not isinstance(wanted, Resource) or step.found.action != "create" or _kind(wanted) not in _AVAILABILITY:
            continue
        reason = _why_taken(arm, settings, wanted) if _kind(wanted).partition("/")[0] in registered else None
        if reason is None or (wanted.restore and _is_recoverable(arm, settings, wanted)):
            continue
        key = wanted.label.replace(" ", "_")
        yield Finding.error(
            f"{wanted.label} {wanted.name}",
            f"the name is not to be had ({reason}): such names are unique in the world",
            f"Set another {key} in phi3flow.toml.",
        )


def _why_taken(arm: Arm, settings: AzureSettings, wanted: Resource) -> str | None:
    """Return why a name is not to be had; None where it is, or where only making it will tell the caller."""
    path, version = _AVAILABILITY[_kind(wanted)]
    body = {"name": wanted.name, "type": _kind(wanted)}
    try:
        answer = arm.post(f"{settings.subscription}/providers/{path}", version, body)
    except ForbiddenError:
        return None
    return None if answer.get("nameAvailable", True) else str(answer.get("reason", "taken"))


def _check_hidden(settings: AzureSettings, steps: Sequence[Step]) -> Iterator[Finding]:
    """Find providers that the caller, without a role on the subscription, cannot see registered."""
    hidden = [step.wanted.name for step in steps if _is_registration(step, "hidden")]
    if hidden:
        yield Finding.warning(
            f"providers {', '.join(hidden)}",
            "you have no role on the subscription and may not see whether they are registered",
            "If one is not, what needs it fails; somebody with Contributor on the subscription types "
            f"`az provider register --subscription {settings.subscription_id} --namespace NAME`.",
        )


def _is_recoverable(arm: Arm, settings: AzureSettings, vault: Resource) -> bool:
    """Whether the name is held by our own vault, which was deleted and will be recovered."""
    path = (
        f"{settings.subscription}/providers/Microsoft.KeyVault/locations/{settings.location}/deletedVaults/{vault.name}"
    )
    return arm.get(path, vault.version) is not None


def _check_steps(steps: Sequence[Step]) -> Iterator[Finding]:
    """Find what exists and is not as the settings have it, where no change can mend it."""
    for step in steps:
        what = f"{step.wanted.label} {step.wanted.name}"
        if step.found.fixed:
            yield Finding.error(
                what,
                f"it exists, and {'; '.join(step.found.fixed)}, which cannot be changed",
                "Set phi3flow.toml as it is, give another name, or delete it first (`phi3flow azure down`).",
            )
        elif step.found.action == "foreign" and step.found.differences:
            yield Finding.warning(
                what,
                f"phi3flow did not make it and leaves it as it is, and {'; '.join(step.found.differences)}",
                "Change it yourself, or give another name.",
            )
