"""VM sizes of a region, the subscription's quota for them in Azure Machine Learning, and what was retired."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.workspace.workspace import Workspace

UPGRADE_RESERVE_PERCENT = 20
"""What an online deployment reserves besides its own cores, for upgrades."""
_RETIRED = (
    (re.compile(r"Standard_NC(6|12|24|24r)s?_v3", re.IGNORECASE), "2025-09-30"),
    (re.compile(r"Standard_NC(6|12|24|24r)s?_v2", re.IGNORECASE), "2023-09-06"),
    (re.compile(r"Standard_NC(6|12|24|24r)(_Promo)?", re.IGNORECASE), "2023-09-06"),
    (re.compile(r"Standard_ND(6|12|24|24r)s", re.IGNORECASE), "2023-09-06"),
)
_WITHOUT_RESERVE = re.compile(
    r"Standard_(NC\d+ads_(A100_v4|H100_v5)|ND96asr_v4|ND96amsr_A100_v4|ND40rs_v2)", re.IGNORECASE
)
"""Sizes that the service exempts from the reserve (learn.microsoft.com: how-to-manage-quotas)."""
REPLACEMENT = "Standard_NC24ads_A100_v4"
TOTAL = "totaldedicatedcores"
"""The key of the cores that all families may use together."""


@dataclass(frozen=True)
class VmSize:
    """A VM size as a region offers it to Azure Machine Learning."""

    name: str
    family: str
    cores: int
    gpus: int


@dataclass(frozen=True)
class Usage:
    """Cores of a family that the subscription uses and may use in a region; ``name`` is what a request names.

    ``idle`` of those used are held by nodes without a job, which go by themselves, ``deployed`` by deployments that
    phi3flow made, where that was looked at.
    """

    name: str
    used: int
    limit: int
    idle: int = 0
    deployed: int = 0

    @property
    def free(self) -> int:
        """The cores that are to be had now."""
        return self.limit - self.used


def retired_on(size: str) -> str | None:
    """Return the date when Azure retired a VM size, None where it did not."""
    return next((date for pattern, date in _RETIRED if pattern.fullmatch(size)), None)


def deployment_cores(size: VmSize, instances: int) -> tuple[int, int]:
    """Return the cores that an online deployment must find free in the quota, and those with a reserve for upgrades.

    The service takes ceil(1.2 x instances) x cores (learn.microsoft.com: how-to-manage-quotas); of sizes that are
    exempt only the cores themselves, and the reserve is what upgrades without interruption would take.
    """
    if _WITHOUT_RESERVE.fullmatch(size.name):
        cores = size.cores * instances
        return cores, math.ceil(cores * (100 + UPGRADE_RESERVE_PERCENT) / 100)
    reserved = math.ceil(instances * (100 + UPGRADE_RESERVE_PERCENT) / 100) * size.cores
    return reserved, reserved


def list_sizes(workspace: Workspace) -> dict[str, VmSize]:
    """Return what the region offers, by name in lower case. Raises AzureError for a region that is none."""
    return {
        str(row["name"]).lower(): VmSize(
            str(row["name"]), str(row.get("family", "")), int(row.get("vCPUs", 0)), int(row.get("gpus", 0))
        )
        for row in workspace.arm.list(f"{_location(workspace)}/vmSizes", ML_VERSION)
    }


def list_usages(workspace: Workspace) -> dict[str, Usage]:
    """Return the dedicated cores by family, as ``family_key`` writes it.

    Beside a family's row there may be one for each workspace and compute, with the family's name: what is used is the
    most that rows of one type sum up to, each id counted once; the limit is the family's.
    """
    rows: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    names: dict[str, str] = {}
    for number, row in enumerate(workspace.arm.list(f"{_location(workspace)}/usages", ML_VERSION)):
        name = _usage_name(row)
        if "lowpriority" not in re.sub(r"\W", "", f"{row.get('type', '')}{name}").lower():
            names.setdefault(family_key(name), name)
            rows[family_key(name)][f"{row.get('type', '')} {row.get('id', number)} {name}".lower()] = row
    return {key: _sum_up(names[key], list(rows[key].values())) for key in rows}


def _sum_up(name: str, rows: Sequence[Mapping[str, Any]]) -> Usage:
    used: Counter[str] = Counter()
    for row in rows:
        used[str(row.get("type", "")).lower()] += int(row.get("currentValue") or 0)
    broadest = [row for row in rows if "/workspaces/" not in f"{row.get('type', '')}/{row.get('id', '')}".lower()]
    limits = [int(row.get("limit") or 0) for row in broadest or rows]
    return Usage(name, max(used.values()), max(limits))


def family_key(family: str) -> str:
    """Return a family's name as sizes and quotas can be compared by; each service writes it in its own way."""
    plain = re.sub(r"[^a-z0-9]", "", family.lower())
    return (
        plain.removesuffix("clusterdedicatedvcpus")
        .removesuffix("vcpus")
        .removesuffix("family")
        .removeprefix("standard")
    )


def quota_name(family: str) -> str:
    """Return a family as a quota request names it, such as standardNCADSA100v4Family."""
    plain = re.sub(r"\W", "", family)
    return plain[:1].lower() + plain[1:]


def _usage_name(usage: dict[str, Any]) -> str:
    name = usage.get("name") or {}
    return str(name.get("value") or name.get("localizedValue") or "")


def _location(workspace: Workspace) -> str:
    provider = f"{workspace.settings.subscription}/providers/Microsoft.MachineLearningServices"
    return f"{provider}/locations/{workspace.location}"
