"""Whether a project can fine-tune and deploy models as a service: each precondition is looked at by itself.

What no request tells is the portal's setting "Deploy models to Foundry resources", which must be off: an endpoint that
Azure refuses for it is explained then (learn.microsoft.com: deploy-models-serverless, 2026-01).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.foundation.resources import Registration
from phi3flow.azure.preflight.catalog_checks import RETIRED_ON, RETIREMENT_TAG, replacement_of
from phi3flow.azure.preflight.findings import Finding, refuse
from phi3flow.azure.preflight.permissions import refused_actions
from phi3flow.azure.preflight.preflight import check_subscription, missing
from phi3flow.azure.settings import plain_region
from phi3flow.azure.workspace.catalog import Catalog, CatalogAsset
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import ConfigError

REGIONS_TAG = "maas-finetuning-deploy-regions"
"""Of a model of the registry: where it is fine-tuned and deployed as a service, with commas between."""
DEPLOYING_ONLY = frozenset({"swedencentral"})
"""Where models are deployed, not fine-tuned (learn.microsoft.com: region-availability-maas, 2026-02)."""
NETWORK = "Microsoft.Network"
ROLE = "Azure AI Developer"
_ML = "Microsoft.MachineLearningServices/workspaces"
Purpose = Literal["fine-tuned", "deployed"]
ACTIONS: dict[Purpose, tuple[str, ...]] = {
    "fine-tuned": (f"{_ML}/jobs/write", f"{_ML}/data/versions/write"),
    "deployed": (f"{_ML}/serverlessEndpoints/write", f"{_ML}/serverlessEndpoints/listKeys/action"),
}
"""What somebody must be allowed to do in the project."""


def check_project(project: Workspace, purpose: Purpose) -> list[Finding]:
    """Find what keeps a model from being fine-tuned or deployed in a project: all of it, not the first thing only."""
    findings = [*check_subscription(project)]
    if project.resource is None:
        return [*findings, missing("AI Foundry project", project.settings.workspace)]
    return [*findings, *check_kind(project), *_check_network(project), *check_role(project, purpose)]


def look_up_model(project: Workspace) -> CatalogAsset:
    """Return the settings' model of the registry.

    Raises ConfigError where the registry lacks it, PreflightError where it does since Azure retired the model.
    """
    try:
        return Catalog(project).model()
    except ConfigError:
        name = project.settings.model
        if replacement_of(name):
            refuse([_not_offered(name, since=f" since {RETIRED_ON}")])
        raise


def check_model(model: CatalogAsset, project: Workspace, purpose: Purpose) -> Iterator[Finding]:
    """Find a model that is not to be had as a service, or not in the project's region."""
    regions, retired = service_regions(model), model.tags.get(RETIREMENT_TAG)
    if model.is_archived or retired or not regions:
        yield _not_offered(model.name, version=f":{model.version}", since=f" since {retired}" if retired else "")
        return
    where = {*regions, *(DEPLOYING_ONLY if purpose == "deployed" else ())}
    if project.location not in where:
        yield Finding.error(
            f"region {project.location} of the project {project.settings.workspace}",
            f"{model.name} is {purpose} as a service in {', '.join(sorted(where))} only",
            "A hub cannot be moved: set hub, project and location in phi3flow.toml for another region, then "
            "`phi3flow azure up`.",
        )


def _not_offered(name: str, *, version: str = "", since: str) -> Finding:
    replacement = replacement_of(name) or "Phi-4-mini-instruct"
    return Finding.error(
        f"model {name}{version}",
        f"Azure does not offer it as a service{since}",
        f"Take {replacement}, or --backend azureml for machines of your own.",
    )


def service_regions(model: CatalogAsset) -> Sequence[str]:
    """Return the regions in which a model is fine-tuned as a service, as its tag says; none where it is not."""
    return [plain_region(region) for region in model.tags.get(REGIONS_TAG, "").split(",") if region.strip()]


def check_kind(project: Workspace) -> Iterator[Finding]:
    """Find a place that is no hub's project, or whose hub is encrypted with a key of the customer's."""
    resource = project.resource or {}
    name, kind = f"project {project.settings.workspace}", str(resource.get("kind") or "Default")
    if kind != "Project":
        yield Finding.error(
            name,
            f"it is a workspace of the kind {kind}, and models as a service are for the projects of a hub",
            "Set project in phi3flow.toml to a hub's project, or to a new name, and `phi3flow azure up`.",
        )
        return
    hub_id = str((resource.get("properties") or {}).get("hubResourceId") or "")
    hub = project.arm.get(hub_id, ML_VERSION) if hub_id else None
    if str(((hub or {}).get("properties") or {}).get("encryption", {}).get("status")) == "Enabled":
        yield Finding.error(
            f"hub {hub_id.rpartition('/')[2]}",
            "it is encrypted with a key of your own, which models as a service do not support",
            "Set another hub and project in phi3flow.toml, and `phi3flow azure up`.",
        )


def _check_network(project: Workspace) -> Iterator[Finding]:
    subscription = project.settings.subscription
    if Registration(NETWORK, subscription).look(project.arm).action == "create":
        yield Finding.error(
            f"provider {NETWORK}",
            "the subscription has not registered it, and models as a service need it",
            "`phi3flow azure up` registers it, or somebody with Contributor on the subscription types `az provider "
            f"register --subscription {project.settings.subscription_id} --namespace {NETWORK}`.",
        )


def check_role(project: Workspace, purpose: Purpose) -> Iterator[Finding]:
    """Find what the caller may not do in the project."""
    refused = refused_actions(project.arm, project.id, ACTIONS[purpose])
    if refused:
        yield Finding.error(
            f"your roles on the project {project.settings.workspace}",
            f"you may not do {', '.join(refused)}",
            f"Somebody who owns it types: az role assignment create --assignee {project.arm.caller().object_id} "
            f"--role '{ROLE}' --scope {project.settings.group}.",
        )
