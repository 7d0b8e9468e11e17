"""What Azure says can be fine-tuned, of a region and of a resource, and where fine-tuned models have no quota."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from phi3flow.azure.arm import Arm
from phi3flow.azure.openai.account import OPENAI_VERSION

PROVIDER = "Microsoft.CognitiveServices"
FOUNDRY = "AIServices"
"""The kind of a resource that has all models."""
_CLOSED = "deprecated"
"""The lifecycle of a model that existing customers only use (learn.microsoft.com: model retirements, 2026-08)."""
_TUNED_USAGE = "-finetune"
"""What the name of a quota ends in that fine-tuned models take from."""


@dataclass(frozen=True)
class TunableModels:
    """Models by the names that jobs take: those that anybody can fine-tune, and those for existing customers only."""

    anybody: list[str]
    existing_customers: list[str]


def tunable_models(rows: Iterable[Mapping[str, Any]], today: date) -> TunableModels:
    """Return which of the models that Azure lists can be fine-tuned on a day, without those that were fine-tuned."""
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for row in rows:
        if not row.get("baseModel") and _is_tunable(row, today):
            names[_is_closed(row, today)].add(_job_name(row))
    return TunableModels(sorted(names[False]), sorted(names[True]))


def list_region_models(arm: Arm, subscription: str, location: str) -> list[dict[str, Any]]:
    """Return the models that a Foundry resource would have in a region."""
    rows = arm.list(f"{_region(subscription, location)}/models", OPENAI_VERSION)
    return [row["model"] for row in rows if row.get("kind") == FOUNDRY]


def list_missing_quota(arm: Arm, subscription: str, location: str) -> list[str]:
    """Return the names of quota, such as OpenAI.Standard.gpt4.1-finetune, of which a subscription has none."""
    usages = arm.list(f"{_region(subscription, location)}/usages", OPENAI_VERSION)
    names = {str((usage.get("name") or {}).get("value")): usage.get("limit") for usage in usages}
    return sorted(name for name, limit in names.items() if name.endswith(_TUNED_USAGE) and limit == 0)


def _region(subscription: str, location: str) -> str:
    return f"{subscription}/providers/{PROVIDER}/locations/{location}"


def _job_name(row: Mapping[str, Any]) -> str:
    """Return what a job calls a model: OpenAI's own with the version."""
    name = str(row["name"])
    return f"{name}-{row.get('version')}" if row.get("format") == "OpenAI" else name


def _is_tunable(row: Mapping[str, Any], today: date) -> bool:
    """Whether a model's chats can be learnt still; Azure writes its capabilities as texts."""
    capabilities = row.get("capabilities") or {}
    can = all(str(capabilities.get(name)).lower() == "true" for name in ("fineTune", "chatCompletion"))
    return can and not _is_past(row, "fineTune", today)


def _is_closed(row: Mapping[str, Any], today: date) -> bool:
    return str(row.get("lifecycleStatus")).lower() == _CLOSED or _is_past(row, "inference", today)


def _is_past(row: Mapping[str, Any], what: str, today: date) -> bool:
    day = (row.get("deprecation") or {}).get(what)
    return day is not None and date.fromisoformat(str(day)[:10]) <= today
