"""Models of the registry that Azure has retired, and what it offers in their place."""

from __future__ import annotations

from collections.abc import Iterator

from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.settings import AzureSettings

RETIRED_ON = "2025-08-30"
_REPLACEMENTS = {
    "phi-3-mini-4k-instruct": "Phi-4-mini-instruct",
    "phi-3-mini-128k-instruct": "Phi-4-mini-instruct",
    "phi-3-small-8k-instruct": "Phi-4-mini-instruct",
    "phi-3-small-128k-instruct": "Phi-4-mini-instruct",
    "phi-3-medium-4k-instruct": "Phi-4",
    "phi-3-medium-128k-instruct": "Phi-4",
    "phi-3.5-mini-instruct": "Phi-4-mini-instruct",
    "phi-3.5-moe-instruct": "Phi-4-mini-instruct",
    "phi-3.5-vision-instruct": "Phi-4-mini-instruct",
}
"""By name in lower case (learn.microsoft.com: Retired models in Microsoft Foundry)."""


def check_model(settings: AzureSettings) -> Iterator[Finding]:
    """Find a model that Azure has retired: it serves it no more, and its registry may drop it any day."""
    replacement = replacement_of(settings.model)
    if replacement:
        yield Finding.warning(
            f"model {settings.model}",
            f"Azure retired it on {RETIRED_ON}: it is fine-tuned and deployed on machines of your own as long as the "
            f"registry {settings.registry} has it",
            f'Its replacement: model = "{replacement}".',
        )


def replacement_of(model: str) -> str | None:
    """Return what Azure offers in place of a model that it retired, None for any other."""
    return _REPLACEMENTS.get(model.lower())
