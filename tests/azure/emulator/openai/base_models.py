"""The models that Azure OpenAI offers: by which days they are retired, and how each can be fine-tuned and deployed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from tests.azure.emulator.world import World

FINE_TUNED_ONLY = "DeveloperTier"
SKUS = (
    "Standard",
    "GlobalStandard",
    "DataZoneStandard",
    "ProvisionedManaged",
    "GlobalProvisionedManaged",
    FINE_TUNED_ONLY,
)
_LIMIT, _FINE_TUNED_LIMIT = 5000, 500


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A model of the catalogue: ``version`` is part of ``id`` for OpenAI's own, ``usage`` names its quota.

    ``trained_until`` is the day until which who has fine-tuned it before may do so, None where nobody can fine-tune
    it; ``tuned_until`` is the last day of deployments of what was trained.
    """

    name: str
    version: str
    format: str = "OpenAI"
    usage: str = ""
    retired: date | None = None
    trained_until: date | None = None
    tuned_until: date | None = None
    methods: tuple[str, ...] = ()
    training_types: tuple[str, ...] = ("standard", "globalStandard", "developerTier")
    kinds: tuple[str, ...] = ("OpenAI", "AIServices")
    reasons: bool = False
    """Whether it thinks before it answers, and so takes no temperature."""

    @property
    def id(self) -> str:
        """What jobs call it."""
        return f"{self.name}-{self.version}" if self.format == "OpenAI" else self.name

    def is_retired(self, world: World) -> bool:
        """Return whether it can no longer be deployed."""
        return self.retired is not None and self.retired <= world.today

    def is_trained(self, world: World) -> bool:
        """Return whether this customer can still fine-tune it."""
        if not self.methods or (self.trained_until and self.trained_until < world.today):
            return False
        return world.openai_existing_customer or not self.is_retired(world)


_4O: dict[str, Any] = {
    "retired": date(2026, 10, 1),
    "trained_until": date(2027, 4, 1),
    "tuned_until": date(2027, 10, 1),
}
_41: dict[str, Any] = {
    "version": "2025-04-14",
    "methods": ("supervised", "dpo"),
    **{"retired": date(2026, 10, 14), "trained_until": date(2027, 4, 14), "tuned_until": date(2027, 10, 14)},
}
_FOUNDRY: dict[str, Any] = {
    "kinds": ("AIServices",),
    "training_types": ("globalStandard", "dataZone"),
    "methods": ("supervised",),
}

BASE_MODELS = (
    BaseModel(name="gpt-4o-mini", version="2024-07-18", methods=("supervised",), **_4O),
    BaseModel(name="gpt-4o", version="2024-08-06", methods=("supervised", "dpo"), **_4O),
    BaseModel(name="gpt-4.1", usage="gpt4.1", **_41),
    BaseModel(name="gpt-4.1-mini", usage="gpt4.1-mini", **_41),
    BaseModel(name="gpt-4.1-nano", usage="gpt4.1-nano", **_41),
    BaseModel(name="gpt-5-mini", version="2025-08-07", retired=date(2027, 2, 6), reasons=True),
    BaseModel(name="gpt-oss-20b", version="1", format="OpenAI-OSS", **_FOUNDRY),
    BaseModel(name="Ministral-3B", version="2411", format="Mistral AI", **_FOUNDRY),
    BaseModel(name="Qwen-32B", version="1", format="Alibaba", **_FOUNDRY),
    BaseModel(name="Llama-3.3-70B-Instruct", version="1", format="Meta", **_FOUNDRY),
)


def find_base(model_id: str) -> BaseModel | None:
    """Return the base model that jobs call so, None where there is none."""
    return next((model for model in BASE_MODELS if model.id.lower() == model_id.lower()), None)


def usage_name(model: BaseModel, sku: str, *, fine_tuned: bool) -> str:
    """Return the name of the quota that a deployment takes from: a fine-tuned model has one of its own."""
    publisher = "OpenAI" if model.format == "OpenAI" else "AIServices"
    return f"{publisher}.{sku}.{model.usage or model.name}{'-finetune' if fine_tuned else ''}"


def limit_of(world: World, usage: str) -> int:
    """Return how much of a quota the subscription has, in thousands of tokens a minute."""
    return world.openai_quota.get(usage, _FINE_TUNED_LIMIT if usage.endswith("-finetune") else _LIMIT)


def describe(model: BaseModel, world: World, location: str) -> dict[str, Any]:
    """Return a model as the resource manager lists it in a region, which need not fine-tune it.

    It is listed alike for everybody: who may fine-tune one that is retired shows at the job.
    """
    is_tunable = bool(model.methods) and location in world.openai_regions
    deprecation = {"inference": f"{model.retired or date(2099, 1, 1)}T00:00:00Z"}
    if model.trained_until:
        deprecation["fineTune"] = f"{model.trained_until}T00:00:00Z"
    capabilities = {"chatCompletion": "true", "inference": "true", "maxContextToken": "128000"}
    if is_tunable:
        capabilities["fineTune"] = "true"
    return {
        "format": model.format,
        "name": model.name,
        "version": model.version,
        "isDefaultVersion": True,
        "skus": [describe_sku(model, sku, fine_tuned=False) for sku in SKUS if sku != FINE_TUNED_ONLY],
        "maxCapacity": 3,
        "capabilities": capabilities,
        "finetuneCapabilities": {"chatCompletion": "true"} if is_tunable else {},
        "deprecation": deprecation,
        "lifecycleStatus": "Deprecated" if model.is_retired(world) else "GenerallyAvailable",
        "systemData": {"createdBy": "Microsoft", "createdAt": "2025-04-14T00:00:00Z"},
    }


def describe_sku(model: BaseModel, sku: str, *, fine_tuned: bool) -> dict[str, Any]:
    """Return how a model can be deployed, with the name of the quota that this takes from."""
    last = model.tuned_until if fine_tuned else model.retired
    return {
        "name": sku,
        "usageName": usage_name(model, sku, fine_tuned=fine_tuned),
        "deprecationDate": f"{last or date(2099, 1, 1)}T00:00:00Z",
        "capacity": {"minimum": 1, "maximum": 1000, "step": 1, "default": 10},
        "rateLimits": [{"key": "request", "renewalPeriod": 60, "count": 1}],
    }
