"""What Azure OpenAI refuses, in words that say what to do: some of its own mislead.

Texts: learn.microsoft.com, fine-tuning and fine-tuning-safety-evaluation (2026-03); LiteLLM pull request 24687 for the
missing trainingType.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from phi3flow.errors import AzureError, ForbiddenError
from phi3flow.text import cut

KEY_VARIABLE = "AZURE_OPENAI_API_KEY"
ENDPOINT_VARIABLE = "AZURE_OPENAI_ENDPOINT"
_ROLES = "Cognitive Services OpenAI Contributor, or on a Foundry resource Foundry User"
_HARMS = re.compile(r"(?:harm types|thresholds for):?\s*\[([^\]]*)\]", re.IGNORECASE)
_NO_FINE_TUNING = "does not support fine-tuning"
EXISTING_ONLY = (
    "gpt-4o, gpt-4o-mini and the gpt-4.1 family can be fine-tuned by those only who did so before they were retired; "
    "anybody can fine-tune gpt-oss-20b, Ministral-3B, Qwen-32B and Llama-3.3-70B-Instruct on a Foundry resource"
)
"""Who can fine-tune what (learn.microsoft.com: fine-tune-supported-models, 2026-03, and model retirements, 2026-08)."""
_BY_CODE = {
    "quotaexceeded": (
        "fewer of them: a resource takes 100 jobs, of which 20 may wait, 100 files and 1 GB; phi3flow undeploy --model "
        "MODEL --cascade deletes a model with its job and files"
    ),
    "servicemodeldeprecated": (
        "another model; what was fine-tuned from a retired one can be deployed for a year longer than the base"
    ),
    "toomanyrequests": "the service takes no more for the moment: give the command again later",
    "insufficientquota": "a smaller --capacity, another --sku, or more quota (portal, under Quotas)",
}


def explain(status: int | None, code: str, message: str, *, by_key: bool = True) -> str:
    """Return what a refusal says and what to do about it. ``by_key``: who asked did so by key, not by login."""
    text = cut(" ".join(message.split()), 400).rstrip(".") or "no reason given"
    harms = _HARMS.search(text)
    if harms and "unable to be deployed" in text.lower():
        return (
            f"content safety refuses the trained model for {harms[1]}: {text}. Take such examples out and train again"
        )
    if harms:
        return f"content safety refuses the training data for {harms[1]}: {text}. Take such examples out"
    if _NO_FINE_TUNING in text.lower():
        return (
            f"{text}. Azure says so too where the region trains none, and where the training type is missing or wrong: "
            f"the newer models take --training-type GlobalStandard, not Standard. Besides, {EXISTING_ONLY}"
        )
    if status == 401 and "data action" not in text:
        return _explain_login(text, by_key=by_key)
    if status == 403 or "data action" in text:
        return f"{text}. Who may give roles on the resource gives you {_ROLES}"
    remedy = _BY_CODE.get(code.lower())
    return f"{text}. What helps: {remedy}" if remedy else text


def refusal(action: str, status: int | None, body: Any, fallback: str, *, by_key: bool) -> AzureError:
    """Return the error of an answer that refuses ``action``; ``body`` is its error object, where it has one."""
    described: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    if isinstance(described.get("error"), Mapping):
        described = described["error"]
    code, message = str(described.get("code") or ""), str(described.get("message") or fallback)
    kind = ForbiddenError if status == 403 or "data action" in message else AzureError
    return kind(f"{action}: {explain(status, code, message, by_key=by_key)}", status=status, code=code)


def _explain_login(text: str, *, by_key: bool) -> str:
    if by_key:
        return (
            f"the key is wrong, or of another resource ({text}). Put one of the resource's two keys into "
            f"{KEY_VARIABLE}; either works"
        )
    return f"the login is not taken, or has expired ({text}). Log in anew: az login, or set {KEY_VARIABLE}"
