"""What a training is told: the tiny base model's size and texts, and a fine-tune's data and hyperparameters."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from phi3flow.errors import ConfigError
from phi3flow.project.paths import BASE_MODELS, FINE_TUNED_MODEL, TRAIN_FILE, VALIDATION_FILE
from phi3flow.records.record import Record
from phi3flow.records.validation import first_problem

if TYPE_CHECKING:
    from phi3flow.datasets import Splits
    from phi3flow.storage.jsonl import Row

RECIPE_VERSION = 2
"""Raised when the training code changes what the same inputs give, so that no kept model outlives its recipe."""

RECORD_FILE = "training.json"
"""Written last into a model folder: where it stands, the training is complete."""

Method = Literal["full", "lora"]
LrSchedulerType = Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"]


class Hyperparameters(Record):
    """What the optimiser is told: ``batch_size`` in examples a step and process, ``warmup_share`` of all steps."""

    learning_rate: float = Field(gt=0, lt=1)
    lr_scheduler_type: LrSchedulerType = "cosine"
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    max_seq_length: int = Field(ge=8)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


BASE = Hyperparameters(learning_rate=4e-3, epochs=3, batch_size=32, max_seq_length=512)
FULL = Hyperparameters(
    learning_rate=3e-3, epochs=10, batch_size=16, max_seq_length=512, adam_beta2=0.98, weight_decay=0.3
)
"""For every weight of the tiny base; both were chosen on validation (docs/decisions/0003-trainer.md)."""

LORA = Hyperparameters(learning_rate=2e-4, epochs=3, batch_size=4, max_seq_length=2048)
"""For an adapter on real Phi-3: the learning rate of Dettmers et al. 2023 (QLoRA, table 9) for models of this size."""


class BaseConfig(Record):
    """The tiny base model: the Phi-3 architecture, its size, and the general corpus that it is pretrained on.

    The same values give the same model, which is kept in ``cache`` under their hash.
    """

    seed: int = 0
    dialogues: int = Field(default=8000, ge=10)
    vocabulary_size: int = Field(default=2048, ge=300)
    hidden_size: int = Field(default=96, ge=8)
    intermediate_size: int = Field(default=288, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    context_tokens: int = Field(default=512, ge=64)
    hyperparameters: Hyperparameters = BASE
    cache: Path = BASE_MODELS

    @cached_property
    def corpus(self) -> Splits:
        """The general dialogues: ``dialogues`` to train on, and those that measure what is forgotten later."""
        from phi3flow.datasets import Splits
        from phi3flow.sample_data import general_corpus

        corpus = general_corpus(self.seed)
        return Splits(corpus.train[: self.dialogues], corpus.validation, corpus.test)

    @cached_property
    def support(self) -> list[Row]:
        """The support dialogues to train on, which the tokenizer reads and the base model does not."""
        from phi3flow.sample_data import support_corpus

        return support_corpus(self.seed).train

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides tokenizer and weights: values, texts, recipe."""
        texts = {"corpus": self.corpus.train, "support": self.support}
        return fingerprint({**self.model_dump(mode="json", exclude={"cache"}), **texts})

    @property
    def folder(self) -> Path:
        """Where the trained model lies, or will lie."""
        return self.cache / f"phi3-tiny-{self.fingerprint[:12]}"


class FineTuneConfig(Record):
    """One fine-tune: ``model`` is a folder with Phi-3 weights (an adapter is trained), None the tiny ``base``.

    ``merge`` leaves whole weights with the adapter in them, not the adapter; the tiny base's always are whole.

    ``general_share`` of the training examples come from the base's general corpus, against forgetting; for given
    weights there is none. ``resume`` goes on from the last checkpoint beside ``output``.
    """

    train: Path = TRAIN_FILE
    validation: Path = VALIDATION_FILE
    model: Path | None = None
    base: BaseConfig = BaseConfig()
    output: Path = FINE_TUNED_MODEL
    hyperparameters: Hyperparameters = FULL
    general_share: float = Field(default=0.2, ge=0, lt=1)
    seed: int = 0
    merge: bool = False
    resume: bool = False

    @model_validator(mode="before")
    @classmethod
    def _default_hyperparameters(cls, fields: Any) -> Any:
        """Take the defaults of the method, for all hyperparameters or for those that are missing in a dict."""
        chosen = fields.get("hyperparameters", {})
        if not isinstance(chosen, dict):
            return fields
        defaults = LORA if fields.get("model") else FULL
        return {**fields, "hyperparameters": {**defaults.model_dump(), **chosen}}

    @property
    def method(self) -> Method:
        """How the weights change: an adapter beside given weights, or all weights of the tiny base."""
        return "lora" if self.model else "full"

    @property
    def checkpoints(self) -> Path:
        """The folder beside ``output`` that holds an unfinished training."""
        return self.output.with_name(f"{self.output.name}.checkpoints")


def fine_tune_config(**flags: Any) -> FineTuneConfig:
    """Return the configuration that the flags describe. Raises ConfigError that names the flag and its value."""
    try:
        return FineTuneConfig.model_validate(flags)
    except ValidationError as error:
        problem = first_problem(error)
        flag = "--" + str(problem.location[-1]).replace("_", "-")
        raise ConfigError(f"{flag} {problem.value}: {problem.message}") from error


def fingerprint(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a training's inputs under the present recipe."""
    canonical = json.dumps({"recipe": RECIPE_VERSION, **content}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
