"""Whether a model can be fine-tuned in an Azure OpenAI resource, and what Azure says about who may."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from phi3flow.azure.openai.account import Account
from phi3flow.azure.openai.refusals import EXISTING_ONLY
from phi3flow.azure.openai.service import OpenAIService
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.permissions import refused_actions

_CLOSED = ("gpt-4o", "gpt-4.1")
"""Families that existing customers only fine-tune since 2026-10 (learn.microsoft.com: model retirements, 2026-08)."""
_FOUNDRY_ONLY = frozenset({"gpt-oss-20b", "ministral-3b", "qwen-32b", "llama-3.3-70b-instruct"})
"""Models that a resource of kind OpenAI does not have (learn.microsoft.com: fine-tune-supported-models, 2026-03)."""
_DEPLOY = "Microsoft.CognitiveServices/accounts/deployments/write"
_ROLE = "Cognitive Services Contributor"
_NEAR = 5
_FAR = 2090
"""A year that stands for no date at all."""


def check_model(model: str, service: OpenAIService, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Find a model that the resource does not have, or does not fine-tune; nothing is uploaded to find out.

    Whether the caller is an existing customer of a closed family no request tells: that is a warning, unless one of the
    resource's ``jobs`` shows it.
    """
    models = {str(row["id"]).lower(): row for row in service.models()}
    tuned = sorted(str(row["id"]) for row in models.values() if _is_tunable(row) and not row.get("fine_tune"))
    described = models.get(model.lower())
    name, have = f"model {model}", f"it fine-tunes {', '.join(tuned) or 'none'}"
    if described is None:
        near = difflib.get_close_matches(model, tuned, n=_NEAR, cutoff=0.4)
        hint = f"Give --model {' or '.join(near)}." if near else "Give --model one of them."
        if model.lower() in _FOUNDRY_ONLY:
            hint = (
                "It is for Foundry resources (kind AIServices), as phi3flow azure up makes one: set another endpoint."
            )
        yield Finding.error(name, f"the resource at {service.address.base_url} does not have it; {have}", hint)
    elif not _is_tunable(described):
        why = f"; {EXISTING_ONLY}" if model.lower().startswith(_CLOSED) else ""
        yield Finding.error(
            name, f"the resource does not fine-tune it, or not for you{why}", f"Give --model another: {have}."
        )
    else:
        yield from _check_dates(model, described)
        if model.lower().startswith(_CLOSED) and not _was_tuned(model, jobs):
            yield Finding.warning(
                name,
                f"no job of this resource has fine-tuned it before, and {EXISTING_ONLY}",
                "Azure says at the job's creation whether you may.",
            )


def check_deployment(account: Account) -> Iterator[Finding]:
    """Find what keeps the caller from deploying in a resource."""
    if refused_actions(account.arm, account.id, [_DEPLOY]):
        yield Finding.error(
            f"your roles on the Azure OpenAI resource {account.name}",
            f"you may not do {_DEPLOY}",
            f"Somebody who owns it types: az role assignment create --assignee {account.arm.caller().object_id} "
            f"--role '{_ROLE}' --scope {account.id}.",
        )


def _is_tunable(model: Mapping[str, Any]) -> bool:
    return bool((model.get("capabilities") or {}).get("fine_tune"))


def _was_tuned(model: str, jobs: Iterable[Mapping[str, Any]]) -> bool:
    return any(str(job.get("model")).lower() == model.lower() for job in jobs)


def _check_dates(model: str, described: Mapping[str, Any]) -> Iterator[Finding]:
    """Find until when a model is trained, and its fine-tunes are served."""
    dates = described.get("deprecation") or {}
    ends = [
        f"{what} until {datetime.fromtimestamp(dates[key], UTC):%Y-%m-%d}"
        for key, what in (("fine_tune", "it is trained"), ("inference", "its base is served"))
        if dates.get(key) and datetime.fromtimestamp(dates[key], UTC).year < _FAR
    ]
    if ends:
        yield Finding.warning(f"model {model}", " and ".join(ends), "A newer model has a later date.")
