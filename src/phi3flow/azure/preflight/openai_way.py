"""Whether a project can fine-tune in Azure OpenAI: the resource, its models, the caller's role, and quota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from phi3flow.azure.foundation.plan import Task
from phi3flow.azure.openai.account import ACCOUNTS, Account, find_account
from phi3flow.azure.openai.offers import (
    FOUNDRY,
    PROVIDER,
    TunableModels,
    list_missing_quota,
    list_region_models,
    tunable_models,
)
from phi3flow.azure.openai.refusals import ENDPOINT_VARIABLE, EXISTING_ONLY, KEY_VARIABLE
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.permissions import refused_actions
from phi3flow.azure.preflight.way import UP, Way, is_missing, up_if_open
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ForbiddenError
from phi3flow.text import plural

BACKEND = "azure-openai"
_NAMING = 'name it: openai_account = "NAME" in phi3flow.toml'
_TRAIN = "Microsoft.CognitiveServices/accounts/OpenAI/fine-tunes/write"
_ROLE = "Cognitive Services OpenAI Contributor"
_QUOTA_ROLE = "Cognitive Services Usages Reader"
_UNREGISTERED = "MissingSubscriptionRegistration"
_LISTED = 3


@dataclass(frozen=True)
class _Place:
    """Where it would be: a resource, None where it is not there yet or not to be found, and its region."""

    workspace: Workspace
    account: Account | None
    location: str
    after: str | None

    @property
    def settings(self) -> AzureSettings:
        """The project's settings."""
        return self.workspace.settings


def look_at_openai(
    workspace: Workspace, tasks: Sequence[Task], environment: Mapping[str, str]
) -> tuple[Way, list[Finding]]:
    """Say whether the resource that the settings or the environment name fine-tunes for the caller.

    Raises AzureError where the resource itself cannot be read.
    """
    place, endpoint = _find(workspace, tasks, environment), environment.get(ENDPOINT_VARIABLE)
    if place.account is None and endpoint and not place.settings.openai_account:
        return Way(backend=BACKEND, usable=True, note="its models are not to be seen here"), [_elsewhere(place)]
    models, note, findings = _read_models(place)
    reasons = [*_check_models(place, models), *_check_role(place, tasks, environment)]
    notes = [*([] if place.account or place.settings.openai_account else [_NAMING]), *([note] if note else [])]
    way = Way(
        backend=BACKEND,
        usable=not reasons,
        after=None if reasons else place.after,
        models=models.anybody if models else (),
        existing_customers=models.existing_customers if models else (),
        note=None if reasons else "; ".join(notes) or None,
        reasons=[reason.message for reason in reasons],
    )
    if place.account is not None or place.settings.openai_account:
        findings += [*_check_kind(place, models), *_check_quota(place, tasks)]
    return way, findings


def _find(workspace: Workspace, tasks: Sequence[Task], environment: Mapping[str, str]) -> _Place:
    settings, endpoint = workspace.settings, environment.get(ENDPOINT_VARIABLE)
    named = settings.id_of(ACCOUNTS, settings.openai_account) if settings.openai_account else None
    if named is None and not endpoint:
        return _Place(workspace, None, workspace.location, UP)
    after = up_if_open(tasks, named, f"{settings.subscription}/providers/{PROVIDER}") if named else None
    if named and is_missing(tasks, named):
        return _Place(workspace, None, workspace.location, after)
    account = find_account(workspace.arm, settings, endpoint)
    return _Place(workspace, account, account.location if account else workspace.location, after)


def _elsewhere(place: _Place) -> Finding:
    return Finding.warning(
        ENDPOINT_VARIABLE,
        f"no resource of subscription {place.settings.subscription_id} has it: `fine-tune` goes by its key, and "
        "`deploy` needs the resource here",
        "Set openai_account in phi3flow.toml, or AZURE_SUBSCRIPTION_ID to its subscription.",
    )


def _read_models(place: _Place) -> tuple[TunableModels | None, str | None, list[Finding]]:
    """Return what can be fine-tuned, None and why where that cannot be known, and what is to be said of it."""
    settings, arm = place.settings, place.workspace.arm
    try:
        rows = (
            place.account.models() if place.account else list_region_models(arm, settings.subscription, place.location)
        )
    except AzureError as error:
        if error.code == _UNREGISTERED:
            return None, f"its models cannot be read before {PROVIDER} is registered", []
        if isinstance(error, ForbiddenError) and place.account is None:
            return None, "you have no role on the subscription and may not read its models", []
        look_again = Finding.warning(
            f"models of Azure OpenAI in {place.location}",
            f"they could not be looked up ({error})",
            "`phi3flow azure plan` looks again.",
        )
        return None, "its models could not be looked up", [look_again]
    return tunable_models(rows, datetime.now(UTC).date()), None, []


def _check_models(place: _Place, models: TunableModels | None) -> Iterator[Finding]:
    """Find a resource, or a region, in which nothing can be fine-tuned."""
    if models is None or models.anybody or models.existing_customers:
        return
    what = f"the Azure OpenAI resource {place.account.name}" if place.account else "Azure OpenAI"
    yield Finding.error(
        f"region {place.location}",
        f"{what} fine-tunes no model there",
        "Make a resource elsewhere: az cognitiveservices account create --kind AIServices --sku S0 --name NAME "
        f"--custom-domain NAME --resource-group {place.settings.resource_group} --location eastus2; then set "
        "openai_account to its name.",
    )


def _check_role(place: _Place, tasks: Sequence[Task], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Find who may not train by the login, has no key, and will get no role of `azure up`."""
    account = place.account
    if account is None or environment.get(KEY_VARIABLE) or up_if_open(tasks, f"{account.id}|"):
        return
    if refused_actions(account.arm, account.id, [_TRAIN], data=True):
        yield Finding.error(
            f"your roles on the Azure OpenAI resource {account.name}",
            f"you may not do {_TRAIN}",
            f"Set {KEY_VARIABLE}, or somebody who owns it types: az role assignment create --assignee "
            f"{account.arm.caller().object_id} --role '{_ROLE}' --scope {account.id}.",
        )


def _check_kind(place: _Place, models: TunableModels | None) -> Iterator[Finding]:
    """Find a resource in which a newcomer can fine-tune nothing."""
    account = place.account
    if account is not None and not account.is_foundry and models is not None and not models.anybody:
        yield Finding.warning(
            f"Azure OpenAI resource {account.name}",
            f"it is of the kind {account.resource.get('kind')}, not {FOUNDRY}: {EXISTING_ONLY}",
            f"For these set openai_account to a new name; `{UP}` makes a Foundry resource.",
        )


def _check_quota(place: _Place, tasks: Sequence[Task]) -> Iterator[Finding]:
    """Find quota of which there is none, so that what was fine-tuned could not be deployed."""
    settings, arm = place.settings, place.workspace.arm
    quota = f"quota of fine-tuned models in {place.location}"
    try:
        missing = list_missing_quota(arm, settings.subscription, place.location)
    except AzureError as error:
        if error.code != _UNREGISTERED and not up_if_open(tasks, f"{settings.subscription}|{_QUOTA_ROLE}"):
            yield Finding.warning(
                quota,
                f"it cannot be read ({error})",
                f"Somebody who owns the subscription types: az role assignment create --assignee "
                f"{arm.caller().object_id} --role '{_QUOTA_ROLE}' --scope {settings.subscription}.",
            )
        return
    if missing:
        names = ", ".join(missing[:_LISTED]) + (" …" if len(missing) > _LISTED else "")
        yield Finding.warning(
            quota,
            f"there is none of {plural(len(missing), 'kind')}: {names}",
            "Give deploy another --sku, or ask for it in the portal, under Quotas.",
        )
