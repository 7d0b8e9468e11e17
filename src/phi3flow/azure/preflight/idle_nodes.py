"""Cores that a cluster's idle nodes hold until it scales down: they are free in minutes, and need not be asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.polling import RESOURCE_WAITS, poll
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.sizes import (
    TOTAL,
    Usage,
    VmSize,
    deployment_cores,
    family_key,
    list_sizes,
    list_usages,
)
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ForbiddenError
from phi3flow.text import duration

BOUND_S = 3600.0
"""So long an idle node is waited for; a cluster of phi3flow lets it go after two minutes."""
_LEAVING = ("idleNodeCount", "leavingNodeCount")


def with_idle_nodes(workspace: Workspace, sizes: Mapping[str, VmSize], usages: Mapping[str, Usage]) -> dict[str, Usage]:
    """Return the usages with the cores in them that idle nodes of the workspace's clusters hold."""
    idle = _idle_cores(workspace, sizes)
    cores = {**idle, TOTAL: idle.total()}
    return {name: replace(usage, idle=min(cores.get(name, 0), usage.used)) for name, usage in usages.items()}


def wait_for_idle_nodes(workspace: Workspace, on_note: Callable[[str], None]) -> None:
    """Wait until a deployment of the settings has its cores, as long as idle nodes hold them; not where the caller may
    not see that.

    Raises AzureError after ``BOUND_S``.
    """
    settings = workspace.settings
    try:
        sizes = list_sizes(workspace)
    except ForbiddenError:
        return
    size = sizes.get(settings.deployment_size.lower())
    if size is None:
        return
    needed, _ = deployment_cores(size, settings.instances)
    begun_s, noted = time.monotonic(), False

    def look() -> tuple[bool, None]:
        nonlocal noted
        usages = with_idle_nodes(workspace, sizes, list_usages(workspace))
        bounds = [usages[key] for key in (family_key(size.family), TOTAL) if key in usages]
        waits = any(usage.idle and usage.free < needed <= usage.free + usage.idle for usage in bounds)
        if waits and time.monotonic() - begun_s > BOUND_S:
            raise AzureError(
                f"idle nodes hold the cores of {size.name} since {duration(BOUND_S)}: `phi3flow azure plan`"
            )
        if waits and not noted:
            on_note(f"waiting for an idle node of the cluster to go, which holds the cores of {size.name} …")
            noted = True
        return waits, None

    poll(look, until=lambda waits: not waits, waits=RESOURCE_WAITS)


def check_resting_nodes(workspace: Workspace) -> Iterator[Finding]:
    """Find a cluster of the settings that keeps nodes without a job, which bill all the time."""
    name = workspace.settings.compute
    cluster = workspace.arm.get(f"{workspace.id}/computes/{name}", ML_VERSION) or {}
    settings = (cluster.get("properties") or {}).get("properties") or {}
    least = int((settings.get("scaleSettings") or {}).get("minNodeCount") or 0)
    if least:
        command = f"az ml compute update --name {name} --min-instances 0 {workspace.settings.az_workspace}"
        yield Finding.warning(
            f"compute cluster {name}",
            f"it keeps {least} x {settings.get('vmSize')} running without a job, which bill all the time",
            f"To let them go: {command}.",
        )


def _idle_cores(workspace: Workspace, sizes: Mapping[str, VmSize]) -> Counter[str]:
    """Return the cores of nodes that no job runs on and that their cluster need not keep, by family."""
    cores: Counter[str] = Counter()
    for compute in workspace.arm.list(f"{workspace.id}/computes", ML_VERSION):
        cluster = compute["properties"].get("properties") or {}
        size = sizes.get(str(cluster.get("vmSize", "")).lower())
        counts, scale = cluster.get("nodeStateCounts") or {}, cluster.get("scaleSettings") or {}
        if size is None or compute["properties"].get("computeType") != "AmlCompute":
            continue
        spare = int(cluster.get("currentNodeCount") or 0) - int(scale.get("minNodeCount") or 0)
        idle = sum(int(counts.get(name) or 0) for name in _LEAVING)
        cores[family_key(size.family)] += size.cores * max(0, min(idle, spare))
    return cores
