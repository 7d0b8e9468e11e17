"""Azure's content filter around a chat, in both of its forms: a prompt is refused, or an answer is kept back."""

from __future__ import annotations

import re
from typing import Any

from tests.azure.emulator.openai.refusals import DataPlaneError

_HARMS = ("hate", "self_harm", "sexual", "violence")


def is_blocked(text: str, words: set[str]) -> bool:
    """Return whether a text has any of the words."""
    return any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in words)


def verdict(*, blocked: bool) -> dict[str, Any]:
    """Return what the filter says of each harm of a text."""
    safe = {"filtered": False, "severity": "safe"}
    return {**dict.fromkeys(_HARMS, safe), **({"hate": {"filtered": True, "severity": "high"}} if blocked else {})}


def prompt_verdict(*, blocked: bool) -> dict[str, Any]:
    """Return what the filter says of a prompt, where it looks for attacks as well."""
    return {**verdict(blocked=blocked), "jailbreak": {"filtered": False, "detected": False}}


def prompt_refusal() -> DataPlaneError:
    """Return the refusal of a prompt."""
    return DataPlaneError(
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
        "modify your prompt and retry. To learn more about our content filtering policies please read our "
        "documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
        param="prompt",
        type=None,
        status=400,
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": prompt_verdict(blocked=True)},
    )
