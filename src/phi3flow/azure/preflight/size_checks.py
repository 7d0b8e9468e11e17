"""Whether the region has the VM sizes that are wanted, and the quota allows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.idle_nodes import with_idle_nodes
from phi3flow.azure.preflight.sizes import (
    REPLACEMENT,
    TOTAL,
    UPGRADE_RESERVE_PERCENT,
    Usage,
    VmSize,
    deployment_cores,
    family_key,
    list_sizes,
    list_usages,
    quota_name,
    retired_on,
)
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.endpoints import list_own
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ForbiddenError

SizeCheck = Callable[[AzureSettings, Mapping[str, VmSize], Mapping[str, Usage]], Iterator[Finding]]
"""Finds what is wrong with a size of the settings, whose location is the workspace's, given sizes and quota there."""


@dataclass(frozen=True)
class Capacity:
    """The VM sizes of a workspace's region and the subscription's quota there, each asked once. Raises AzureError."""

    workspace: Workspace

    @cached_property
    def sizes(self) -> dict[str, VmSize]:
        """The sizes; see ``list_sizes``."""
        return list_sizes(self.workspace)

    @cached_property
    def usages(self) -> dict[str, Usage]:
        """The quota; see ``list_usages`` and ``with_idle_nodes``."""
        return with_idle_nodes(self.workspace, self.sizes, list_usages(self.workspace))


def _read_sizes(capacity: Capacity) -> tuple[dict[str, VmSize], list[Finding]]:
    """Return the region's VM sizes; where it has none, a finding that says so."""
    location = f"location {capacity.workspace.location}"
    remedy = "`az account list-locations -o table` lists regions; set location (eastus2 has every model)."
    try:
        sizes = capacity.sizes
    except AzureError as error:
        if error.status not in (400, 404):
            raise
        return {}, [Finding.error(location, f"Azure Machine Learning is not there ({error})", remedy)]
    if not sizes:
        return {}, [Finding.error(location, "Azure Machine Learning offers no VM sizes there", remedy)]
    return sizes, []


def check_sizes(capacity: Capacity, *checks: SizeCheck, with_deployed: bool = False) -> list[Finding]:
    """Hold the settings, by each of ``checks``, against the region's VM sizes and the subscription's quota.

    ``with_deployed`` says that what phi3flow deployed is what the settings ask for, and not to be there twice.
    """
    workspace = capacity.workspace
    settings = workspace.settings.model_copy(update={"location": workspace.location})
    usages: dict[str, Usage] = {}
    try:
        sizes, findings = _read_sizes(capacity)
        if sizes:
            usages = _with_deployed(capacity) if with_deployed else capacity.usages
    except ForbiddenError:
        return [_unread(settings, "you have no role on the subscription and may not read them")]
    except AzureError as error:
        return [_unread(settings, f"they cannot be read ({error})")]
    for check in checks if sizes else ():
        findings += check(settings, sizes, usages)
    return findings


def _with_deployed(capacity: Capacity) -> dict[str, Usage]:
    """Return the usages with the cores in them that deployments of phi3flow hold."""
    cores: Counter[str] = Counter()
    for endpoint in list_own(capacity.workspace):
        for name in endpoint.own:
            deployment = endpoint.deployments[name]
            size = capacity.sizes.get(str(deployment["properties"].get("instanceType", "")).lower())
            if size:
                cores[family_key(size.family)] += deployment_cores(size, int(deployment["sku"]["capacity"]))[0]
    held = {**cores, TOTAL: cores.total()}
    return {key: replace(usage, deployed=min(held.get(key, 0), usage.used)) for key, usage in capacity.usages.items()}


def list_quota(capacity: Capacity) -> list[dict[str, Any]]:
    """Return the quota of each family that the settings need cores of, and how many; none where it cannot be read.

    ``reserve`` is what the endpoint takes with the service's reserve for upgrades.
    """
    settings = capacity.workspace.settings
    try:
        sizes, usages = capacity.sizes, capacity.usages
    except AzureError:
        return []  # what stands in the way is a finding
    tuned, served = (sizes.get(name.lower()) for name in (settings.fine_tune_size, settings.deployment_size))
    rows: dict[str, dict[str, Any]] = {}
    for size in filter(None, (tuned, served)):
        usage = usages.get(family_key(size.family), Usage(size.family, 0, 0))
        rows[usage.name] = {**vars(usage), "fine_tune": 0, "deployment": 0, "reserve": 0}
        for purpose, wanted in (("fine_tune", tuned), ("deployment", served)):
            if wanted and family_key(wanted.family) == family_key(size.family):
                rows[usage.name] |= _cores(purpose, wanted, settings)
    return list(rows.values())


def _cores(purpose: str, size: VmSize, settings: AzureSettings) -> dict[str, int]:
    if purpose == "fine_tune":
        return {"fine_tune": size.cores * settings.max_nodes}
    needed, reserve = deployment_cores(size, settings.instances)
    return {"deployment": needed, "reserve": reserve}


def _unread(settings: AzureSettings, why: str) -> Finding:
    return Finding.warning(
        f"VM sizes and quota in {settings.location}",
        why,
        f"Somebody who may types `az ml compute list-usage --location {settings.location}`.",
    )


def check_fine_tune_size(
    settings: AzureSettings, sizes: Mapping[str, VmSize], usages: Mapping[str, Usage]
) -> Iterator[Finding]:
    """Find a size for fine-tunes that is retired, not offered, without GPU, or beyond the quota."""
    size = sizes.get(settings.fine_tune_size.lower())
    yield from _check_size(settings, "fine_tune_size", settings.fine_tune_size, sizes)
    if size is None:
        return
    cores = size.cores * settings.max_nodes
    purpose = f"compute cluster {settings.compute} of {settings.max_nodes} x {size.name}"
    for usage in _usages_of(size, usages):
        if cores > usage.limit:
            yield _quota_error(settings, purpose, cores, size, usage)
        elif cores > usage.free + usage.idle:
            yield Finding.warning(
                purpose,
                f"{usage.used} of {usage.limit} cores of {usage.name} are in use: fine-tunes wait for {cores}",
                "`phi3flow status` shows deployments, which hold theirs all the time.",
            )


def check_deployment_size(
    settings: AzureSettings, sizes: Mapping[str, VmSize], usages: Mapping[str, Usage]
) -> Iterator[Finding]:
    """Find a size for the endpoint that is retired, not offered, or beyond what is free of the quota."""
    size = sizes.get(settings.deployment_size.lower())
    yield from _check_size(settings, "deployment_size", settings.deployment_size, sizes)
    if size is None:
        return
    needed, reserved = deployment_cores(size, settings.instances)
    purpose = f"deployment of {settings.instances} x {size.name}"
    reserve = f"{purpose}, with the {UPGRADE_RESERVE_PERCENT} % that the service reserves for upgrades"
    for usage in _usages_of(size, usages):
        if needed > usage.free + usage.idle and usage.deployed:
            yield Finding.warning(
                purpose,
                f"{usage.deployed} of {usage.limit} cores of {usage.name} are held by what phi3flow deployed",
                "A version beside it takes more; `phi3flow status` shows what is there, `phi3flow undeploy` ends it.",
            )
        elif needed > usage.free + usage.idle:
            yield _quota_error(settings, purpose if needed < reserved else reserve, reserved, size, usage)
        elif needed > usage.free:
            yield Finding.warning(
                purpose,
                f"{usage.idle} of {usage.limit} cores of {usage.name} are held by idle nodes of the cluster",
                "They go by themselves; the deployment waits for them.",
            )
        elif reserved > usage.free + usage.idle:
            lack = _quota_error(settings, reserve, reserved, size, usage)
            why = f"{lack.why}; this size is exempt from the reserve, so that {needed} should do"
            yield lack.model_copy(update={"severity": "warning", "why": why})


def _usages_of(size: VmSize, usages: Mapping[str, Usage]) -> list[Usage]:
    """Return what bounds a size: its family's cores, and those of all families together where the service tells."""
    family = usages.get(family_key(size.family), Usage(size.family, 0, 0))
    return [family, *(usages[name] for name in (TOTAL,) if name in usages)]


def _check_size(settings: AzureSettings, key: str, name: str, sizes: Mapping[str, VmSize]) -> Iterator[Finding]:
    setting, size = f"{key} {name}", sizes.get(name.lower())
    date = retired_on(name)
    if date:
        yield Finding.error(setting, f"Azure retired it on {date}", f'Set {key} = "{REPLACEMENT}".')
    elif size is None:
        with_gpu = sorted(offer.name for offer in sizes.values() if offer.gpus)
        offered = f"GPU sizes there: {', '.join(with_gpu)}" if with_gpu else "the region has no GPU sizes at all"
        yield Finding.error(
            setting,
            f"{settings.location} does not offer it; {offered}",
            f"Set {key} or location; `az ml compute list-sizes --location REGION` lists what a region has.",
        )
    elif not size.gpus:
        yield Finding.error(setting, "it has no GPU", f'Set {key} = "{REPLACEMENT}".')


def _quota_error(settings: AzureSettings, purpose: str, cores: int, size: VmSize, usage: Usage) -> Finding:
    scope = f"{settings.subscription}/providers/Microsoft.MachineLearningServices/locations/{settings.location}"
    limit = usage.used - usage.idle + cores
    command = f"az quota update --resource-name {quota_name(size.family)} --scope {scope} --limit-object value={limit}"
    remedy = f"Ask for {limit} in the portal, Quotas > Machine learning > {settings.location}"
    if family_key(usage.name) == TOTAL:
        remedy += ": the total is not to be had by command."
    else:
        remedy += f", or, where your subscription takes it, by {command} --resource-type dedicated."
    return Finding.error(
        purpose,
        f"it takes {cores} cores of {usage.name} in {settings.location}; the quota is {usage.limit}, {usage.used} used",
        remedy,
    )
