"""Sizes and quota of Azure Machine Learning in a region, and requests for more of it (Microsoft.Quota)."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import PROVIDER
from tests.azure.emulator.world import VmSize, World

LOCATION = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{{location}}"
UNLIMITED = -1
"""The limit of a family's low-priority cores, which only their total limits."""
_HELP = (
    "Talk to your Subscription Admin or refer to "
    "https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases to increase the "
)
_VERSIONS = "2023-10-01, 2024-04-01, 2024-10-01, 2025-06-01"
UsageSource = Callable[[str], Mapping[str, int]]


@dataclass(frozen=True)
class Limit:
    """A limit and what is used of it; ``kind`` is the part of its type that tells dedicated from low priority."""

    kind: str
    name: str
    label: str
    used: int
    limit: int


class Quota:
    """What a subscription may use in a region, and uses.

    ``usage_sources`` tell how many dedicated cores of each family are in use in a region, ``low_priority_sources`` how
    many of low priority; services that run nodes add theirs. A dedicated node needs room in its family and in the
    total, a low-priority one only in the total of its own.
    """

    def __init__(self, world: World, providers: Providers) -> None:
        self._world, self._providers = world, providers
        self.usage_sources: list[UsageSource] = []
        self.low_priority_sources: list[UsageSource] = []
        self.count_clusters: Callable[[str], int] = lambda _: 0
        self.release_nodes: Callable[[str], None] = lambda _: None

    def add_routes(self, router: Router) -> None:
        """Register usages, quotas and sizes of a region."""
        router.add("GET", f"{LOCATION}/usages", self._list_usages)
        router.add("GET", f"{LOCATION}/quotas", self._list_quotas)
        router.add("GET", f"{LOCATION}/vmSizes", self._list_sizes)

    def size(self, location: str, name: str) -> VmSize:
        """Return a size that a region offers. Raises ServiceError 400 where it is retired, or not offered there."""
        if name.lower() in {size.lower() for size in self._world.retired_sizes}:
            message = f"The VM size '{name}' is retired and can no longer be allocated. Choose another VM size."
            raise ServiceError(400, "RetiredVmSize", message)
        offered = {size.name.lower(): size for size in self._world.sizes.get(location, ())}
        if name.lower() not in offered:
            near = difflib.get_close_matches(name.lower(), offered, n=3, cutoff=0.6) or offered
            raise ServiceError(
                400,
                "InvalidPropertyValue",
                f"The specified value {name} for property Cluster.Properties.VMSize is not a supported VM size. "
                f"Supported VM sizes: {','.join(offered[size].name.upper() for size in near)}.",
            )
        return offered[name.lower()]

    def check_nodes(self, location: str, size: VmSize, *, nodes: int, low_priority: bool = False) -> None:
        """Raise ServiceError 400 where the quota is less than the cores of so many nodes."""
        if not self._is_offered:
            message = f"The resource type is not available for the offer of this subscription ({self._world.quota_id})."
            raise ServiceError(400, "ResourceNotAvailableForOffer", message)
        family = (f"{size.family.removesuffix(' Family')} family", self._world.quota.get(size.family, 0))
        total = ("total", self._world.low_priority_cores if low_priority else self._world.total_cores)
        for name, limit in (total,) if low_priority else (family, total):
            has = f"The specified subscription has a {name} vCPU quota of {limit} and"
            if limit < size.cores:
                message = f"{has} cannot accomodate for at least 1 requested managed compute node which maps to "
                code = "ClusterMinNodesExceedCoreQuota"
                raise ServiceError(400, code, f"{message}{size.cores} vCPUs. {_HELP}{name} quota.")
            if limit < size.cores * nodes:
                message = f"{has} is less than the requested maximum node count of {nodes} which maps to "
                code = "ClusterCoreQuotaReached"
                raise ServiceError(400, code, f"{message}{size.cores * nodes} vCPUs. {_HELP}{name} quota.")

    def cores_left(self, location: str, family: str) -> int:
        """Return how many dedicated cores of a family may still be taken in a region."""
        used = _sum(self.usage_sources, location)
        of_family = self._world.quota.get(family, 0) - used[family]
        return max(0, min(of_family, self._world.total_cores - used.total())) if self._is_offered else 0

    def limits(self, location: str) -> list[Limit]:
        """Return every limit of a region. Raises ServiceError 400 where it has no Azure ML."""
        self._providers.check_registered(PROVIDER)
        self._check_region(location)
        used, low = _sum(self.usage_sources, location), _sum(self.low_priority_sources, location)
        kind, label, total = "vmFamily/dedicatedCores", "Cluster Dedicated", self._world.total_cores
        rows = [Limit("totalClusters", "TotalClusters", "Clusters", self.count_clusters(location), 200)]
        rows += [Limit("totalDedicatedCores", "TotalDedicatedCores", _regional(label), used.total(), total)]
        for family in self._families:
            limit = self._world.quota.get(family, 0)
            rows.append(Limit(kind, _plain(family), f"{family} {label} vCPUs", used[family], limit))
        kind, label, total = "vmFamily/lowPriorityCores", "Cluster LowPriority", self._world.low_priority_cores
        rows += [Limit("totalLowPriorityCores", "TotalLowPriorityCores", _regional(label), low.total(), total)]
        for family in self._families:
            rows.append(Limit(kind, _plain(family), f"{family} {label} vCPUs", low[family], UNLIMITED))
        return rows

    def raise_limit(self, name: str, cores: int) -> None:
        """Grant cores of the family of that name, or of low priority."""
        if name == "TotalLowPriorityCores":
            self._world.low_priority_cores = cores
            return
        for family in self._families:
            if _plain(family) == name:
                self._world.quota[family] = cores

    @property
    def _families(self) -> list[str]:
        offered = {size.family for sizes in self._world.sizes.values() for size in sizes}
        return sorted(offered | set(self._world.quota))

    @property
    def _is_offered(self) -> bool:
        return not self._world.quota_id.startswith("FreeTrial_")

    def _check_region(self, location: str) -> None:
        if not self._world.sizes.get(location):
            regions = ", ".join(sorted(region for region, sizes in self._world.sizes.items() if sizes))
            raise ServiceError(
                400,
                "NoRegisteredProviderFound",
                f"No registered resource provider found for location '{location}' and API version '2024-04-01' for "
                f"type 'locations/usages'. The supported api-versions are '{_VERSIONS}'. The supported locations are "
                f"'{regions}'.",
            )

    def _list_usages(self, request: Request, subscription: str, location: str) -> Reply:
        """Answer the usages; a subscription whose offer has no cores here has limits, yet no values."""
        self.release_nodes(location)
        rows = []
        for limit in self.limits(location):
            row = {**_row(limit, subscription, "usages"), "currentValue": limit.used if self._is_offered else None}
            rows.append(row)
            if limit.kind == "vmFamily/dedicatedCores":  # of what is used, the part of a workspace and of its cluster
                workspace = (
                    f"/subscriptions/{subscription}/resourceGroups/phi3flow/providers/{PROVIDER}/workspaces/phi3flow"
                )
                for kind, place in (("workspaces", workspace), ("workspaces/computes", f"{workspace}/computes/c")):
                    part = {"type": f"{PROVIDER}/{kind}/dedicatedCores/usages", "limit": UNLIMITED, "currentValue": 0}
                    rows.append({**row, **part, "id": f"{place}/usages"})
        return Reply(200, {"value": rows})

    def _list_quotas(self, request: Request, subscription: str, location: str) -> Reply:
        families = [limit for limit in self.limits(location) if limit.kind == "vmFamily/dedicatedCores"]
        return Reply(200, {"value": [_row(limit, subscription, "quotas") for limit in families]})

    def _list_sizes(self, request: Request, location: str, **_: str) -> Reply:
        self._providers.check_registered(PROVIDER)
        self._check_region(location)
        return Reply(200, {"value": [_describe(size) for size in self._world.sizes[location]]})


def _sum(sources: list[UsageSource], location: str) -> Counter[str]:
    used: Counter[str] = Counter()
    for source in sources:
        used.update(source(location))
    return used


def _regional(label: str) -> str:
    return f"Total {label} Regional vCPUs"


def _plain(family: str) -> str:
    """Return a family's name as the API has it: standardNCADSA100v4Family."""
    joined = family.replace(" ", "")
    return joined[0].lower() + joined[1:]


def _row(limit: Limit, subscription: str, noun: str) -> dict[str, Any]:
    place = f"/subscriptions/{subscription}/{noun}"
    return {
        "id": f"{place}/{limit.label.replace(' ', '_')}" if limit.kind.startswith("vmFamily/") else place,
        "type": f"{PROVIDER}/{limit.kind}/{noun}",
        "name": {"value": limit.name, "localizedValue": limit.label},
        "limit": limit.limit,
        "unit": "Count",
    }


def _describe(size: VmSize) -> dict[str, Any]:
    prices = {
        ("Linux", "Standard"): size.price,
        ("Windows", "Standard"): size.price + 0.046 * size.cores,
        ("Linux", "LowPriority"): size.price * 0.2,
        ("Windows", "LowPriority"): (size.price + 0.046 * size.cores) * 0.4,
    }
    rows = [
        {"osType": system, "vmTier": tier, "retailPrice": round(price, 4)} for (system, tier), price in prices.items()
    ]
    return {
        "name": size.name,
        "family": _plain(size.family),
        "vCPUs": size.cores,
        "gpus": size.gpus,
        "osVhdSizeMB": 1047552,
        "maxResourceVolumeMB": int(size.memory_gb * 2048),
        "memoryGB": size.memory_gb,
        "lowPriorityCapable": True,
        "premiumIO": True,
        "estimatedVMPrices": {"billingCurrency": "USD", "unitOfMeasure": "OneHour", "values": rows},
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance", "MIR"],
    }
