"""What a fine-tuning job may be asked for: its body is read here, or refused as the service does."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.openai.base_models import BaseModel, find_base
from tests.azure.emulator.openai.files import FINE_TUNE, File, Files
from tests.azure.emulator.openai.refusals import DataPlaneError, invalid_payload, not_found
from tests.azure.emulator.openai.tuned_models import TunedModels
from tests.azure.emulator.world import World

AUTO = -1
_MEMBERS = (
    *("model", "training_file", "validation_file", "hyperparameters", "method", "suffix", "seed", "metadata"),
    *("integrations", "trainingType"),
)
_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,18}")
_TYPES = {
    "standard": "standard",
    "globalstandard": "globalStandard",
    "developertier": "developerTier",
    "datazone": "dataZone",
    "datazonestandard": "dataZone",
}
_BOUNDS: dict[str, tuple[type, float, float]] = {
    "n_epochs": (int, 1, 10),
    "batch_size": (int, 1, 256),
    "learning_rate_multiplier": (float, 0, 10),
}
_BETA = {"beta": (float, 0.0, 2.0)}
_NOT_TUNED = "The specified base model does not support fine-tuning."


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What a job was asked for, with what was left open filled in."""

    model: str
    base: BaseModel
    training_file: File
    validation_file: File | None
    method: str
    hyperparameters: dict[str, float]
    suffix: str | None
    seed: int
    training_type: str
    metadata: dict[str, str] | None


class JobRules:
    """Reads bodies of jobs."""

    def __init__(self, world: World, files: Files, models: TunedModels) -> None:
        self._world, self._files, self._models = world, files, models

    def read(self, account: dict[str, Any], body: Any) -> JobSettings:
        """Return what a job is to be. Raises DataPlaneError."""
        if not isinstance(body, dict):
            raise invalid_payload("The body is no JSON object.")
        for name in body:
            if name not in _MEMBERS:
                raise invalid_payload(f"Unrecognized request argument supplied: {name}")
        for name in ("model", "training_file"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise invalid_payload(f"The field '{name}' is required.")
        base = self._base(account, body["model"])
        training_type = self._training_type(account, base, body)
        method, hyperparameters = _method(body, base)
        validation = body.get("validation_file")
        return JobSettings(
            model=body["model"],
            base=base,
            training_type=training_type,
            training_file=self._file(account, body["training_file"], "training"),
            validation_file=self._file(account, validation, "validation") if validation else None,
            method=method,
            hyperparameters=hyperparameters,
            suffix=_suffix(body.get("suffix")),
            seed=_seed(body.get("seed")),
            metadata=_metadata(body.get("metadata")),
        )

    def _base(self, account: dict[str, Any], name: str) -> BaseModel:
        tuned = self._models.find(account["id"], name)
        base = tuned.base if tuned else find_base(name)
        if base is None:
            raise not_found(f"The specified base model '{name}' does not exist.")
        return base

    def _training_type(self, account: dict[str, Any], base: BaseModel, body: dict[str, Any]) -> str:
        """Return how the job trains; the service says of each reason that the model cannot be fine-tuned."""
        training_type = _TYPES.get(str(body.get("trainingType", "")).lower())
        if training_type is None and "trainingType" in body:
            raise invalid_payload(f"The trainingType {body['trainingType']!r} is none of {', '.join(_TYPES.values())}.")
        fits = account["kind"] in base.kinds and account["location"] in self._world.openai_regions
        if not fits or not base.methods or training_type not in base.training_types:
            raise invalid_payload(_NOT_TUNED)
        if not base.is_trained(self._world):  # a guess: no document has the text
            raise invalid_payload(
                f"The model '{base.id}' is deprecated and can be fine-tuned by existing customers only. This "
                "subscription has no earlier fine-tuning job or deployment of it."
            )
        return training_type

    def _file(self, account: dict[str, Any], file_id: Any, noun: str) -> File:
        file = self._files.find(account["id"], str(file_id))
        if file is None:
            raise not_found(f"The {noun} file with id '{file_id}' was not found.")
        if file.purpose != FINE_TUNE:
            raise invalid_payload(f"The {noun} file '{file.id}' has the purpose {file.purpose}, not {FINE_TUNE}.")
        if file.status != "processed":
            raise invalid_payload(f"The {noun} file '{file.id}' is in state {file.status}: it must be processed.")
        return file


def _method(body: dict[str, Any], base: BaseModel) -> tuple[str, dict[str, float]]:
    """Return the method of training and its hyperparameters. Raises DataPlaneError 400."""
    method = body.get("method") or {"type": "supervised"}
    name = method.get("type") if isinstance(method, dict) else None
    if name not in base.methods:
        raise invalid_payload(f"The method {name!r} is not supported for the model '{base.id}'.")
    wanted = {**(body.get("hyperparameters") or {}), **((method.get(name) or {}).get("hyperparameters") or {})}
    bounds = {**_BOUNDS, **(_BETA if name == "dpo" else {})}
    values: dict[str, float] = dict.fromkeys(bounds, AUTO)
    for key, value in wanted.items():
        if key not in bounds:
            raise invalid_payload(f"The hyperparameter '{key}' is not supported.")
        values[key] = _within(key, value, bounds[key])
    return name, values


def _within(name: str, value: Any, bounds: tuple[type, float, float]) -> float:
    kind, least, most = bounds
    if value in (None, "auto", AUTO):
        return AUTO
    is_number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise invalid_payload(f"The hyperparameter '{name}' must be between {least} and {most}, not {value!r}.")
    return float(value) if kind is float else int(value)


def _suffix(suffix: Any) -> str | None:
    """Return what the model's name ends with. Of its length documents differ, and notebooks of October 2026 show 27:
    18 is what all of them allow."""
    if suffix is None:
        return None
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        message = "may have up to 18 letters, digits, hyphens and underscores"
        raise invalid_payload(f"The suffix {suffix!r} is invalid: it {message}.")
    return suffix


def _seed(seed: Any) -> int:
    if seed is None:
        return random.randrange(2**31)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise invalid_payload(f"The seed must be a whole number from 0 to {2**31 - 1}, not {seed!r}.")
    return seed


def _metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    is_mapping = isinstance(metadata, dict) and len(metadata) <= 16
    if not is_mapping or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid_payload("The metadata must be up to 16 strings by name.")
    return dict(metadata)


def over_quota(message: str) -> DataPlaneError:
    """Return the refusal of one job too many."""
    return DataPlaneError(429, "quotaExceeded", message)
