"""Whether the registry has the model and the fine-tuning component, and the caller and the VM sizes may use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.catalog import Catalog, CatalogAsset
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ConfigError, ForbiddenError

RETIREMENT_TAG = "finetuneRetirementDate"
"""Of a model of the registry, such as 2025-08-30."""
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
_SET = "Set it in phi3flow.toml."


@dataclass(frozen=True)
class ModelLook:
    """The settings' model in the registry, looked up once."""

    workspace: Workspace

    @cached_property
    def model(self) -> CatalogAsset | Finding:
        """The model, or what keeps it from being read."""
        settings = self.workspace.settings
        replacement = replacement_of(settings.model)
        way_out = _naming(replacement) if replacement else _SET
        return _look_up(f"model {settings.model}", Catalog(self.workspace).model, way_out)


def check_catalog(look: ModelLook) -> Iterator[Finding]:
    """Find a model or component that the registry lacks, has archived or does not show to the caller.

    What cannot be looked up for another reason is a warning.
    """
    settings, model = look.workspace.settings, look.model
    if isinstance(model, Finding):
        yield model
    else:
        yield from check_retirement(model, settings)
        yield from _check_fine_tuning(model, settings)
        yield from check_inference(model, settings)
    component = _look_up(f"component {settings.component}", Catalog(look.workspace).component, _SET)
    if isinstance(component, Finding):
        yield component


def _look_up(name: str, look: Callable[[], CatalogAsset], way_out: str) -> CatalogAsset | Finding:
    """Return an asset, or what keeps it from being read."""
    try:
        return look()
    except (ConfigError, ForbiddenError) as error:
        return Finding.error(name, str(error), way_out)
    except AzureError as error:
        return Finding.warning(name, f"it could not be looked up ({error})", "`phi3flow azure plan` looks again.")


def replacement_of(model: str) -> str | None:
    """Return the living model that takes a retired one's place, None where nothing is known to."""
    return _REPLACEMENTS.get(model.lower())


def check_retirement(model: CatalogAsset, settings: AzureSettings) -> Iterator[Finding]:
    """Find a model that Azure has retired or archived."""
    replacement = replacement_of(model.name)
    date = model.tags.get(RETIREMENT_TAG) or (RETIRED_ON if replacement else None)
    if model.is_archived or date:
        state = "archived it" if model.is_archived else "retired it"
        since = f" on {date}" if date else ""
        yield Finding.warning(
            f"model {model.name}:{model.version}",
            f"Azure {state}{since}: it is fine-tuned and deployed on machines of your own as long as the registry "
            f"{settings.registry} has it",
            _naming(replacement) if replacement else "A newer model has no such date.",
        )


def _check_fine_tuning(model: CatalogAsset, settings: AzureSettings) -> Iterator[Finding]:
    """Find a VM size that a model is not fine-tuned on."""
    if not model.allows(settings.fine_tune_size, "finetune"):
        yield Finding.error(
            f"fine_tune_size {settings.fine_tune_size}",
            f"model {model.name} is not fine-tuned on it, but on {', '.join(model.sizes('finetune'))}",
            "Set fine_tune_size in phi3flow.toml.",
        )


def check_inference(model: CatalogAsset, settings: AzureSettings) -> Iterator[Finding]:
    """Find a VM size that a model does not name for deployments."""
    if not model.allows(settings.deployment_size, "inference"):
        yield Finding.warning(
            f"deployment_size {settings.deployment_size}",
            f"model {model.name} does not name it: it names {', '.join(model.sizes('inference'))}",
            "A size with as much GPU memory does as well; else set deployment_size in phi3flow.toml.",
        )


def _naming(replacement: str) -> str:
    return f'Its replacement: model = "{replacement}".'
