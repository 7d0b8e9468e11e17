"""The two trainings of this project: a tiny base from nothing, and a model fine-tuned on chats."""

from __future__ import annotations

import math
import random
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from phi3flow.records.training import TrainingRecord
from phi3flow.storage.files import write_file
from phi3flow.training import processes
from phi3flow.training.checkpoints import latest_checkpoint, replacing_folder
from phi3flow.training.config import RECORD_FILE, BaseConfig, FineTuneConfig, fingerprint
from phi3flow.training.examples import Encoded, encode_chats
from phi3flow.training.inputs import Chats, TrainingInputs, chats
from phi3flow.training.left_out import count
from phi3flow.training.measurement import measure_exact_match, measure_loss
from phi3flow.training.model_folder import ModelFolder
from phi3flow.training.progress import OnProgress
from phi3flow.training.tiny_phi3 import base_tokenizer, new_model
from phi3flow.training.trainer import TrainingData, TrainingPlan, train
from phi3flow.training.weights import (
    has_bf16,
    load_whole,
    load_with_adapter,
    merge_adapter,
    quieten_libraries,
    save_model,
)

BACKEND = "local"
ANSWERED_CHATS = 100
"""So many chats of a split are answered to measure exact match; more would take longer than they tell."""


def make_base(config: BaseConfig, *, on_progress: OnProgress) -> TrainingRecord:
    """Train the tiny base model on the general corpus and leave it in ``config.folder``."""
    quieten_libraries()
    general = chats(config.corpus.train)
    tokenizer = base_tokenizer(config)
    checkpoints = config.folder.with_name(f"{config.folder.name}.checkpoints")
    plan = TrainingPlan(
        phase="base model",
        hyperparameters=config.hyperparameters,
        seed=config.seed,
        checkpoints=checkpoints,
        identity={"fingerprint": config.fingerprint},
        resume_from=latest_checkpoint(checkpoints),
    )
    recipe = _Recipe(new_model(tokenizer, config), tokenizer, plan, config.folder, on_progress)
    origin = _Origin(
        base_model=None,
        parameters=config.model_dump(mode="json", exclude={"cache", "hyperparameters"}),
        data={"train": "phi3flow.sample_data.general_corpus"},
    )
    return recipe.make(
        general, rehearsal=[], exam=_Exam({"general": chats(config.corpus.validation)}, answered=False), origin=origin
    )


def make_fine_tuned(
    config: FineTuneConfig, inputs: TrainingInputs, *, base: Path, checkpoint: Path | None, on_progress: OnProgress
) -> TrainingRecord:
    """Fine-tune the model in ``base``, from ``checkpoint`` where there is one, and leave it in ``config.output``.

    The tiny base sees some of its general corpus again, and is measured on the held-out rest of it.
    """
    quieten_libraries()
    from_tiny_base = inputs.model is None
    plan = TrainingPlan(
        phase="fine-tune",
        hyperparameters=config.hyperparameters,
        seed=config.seed,
        checkpoints=config.checkpoints,
        identity=inputs.identity,
        resume_from=checkpoint,
        bf16=not from_tiny_base and has_bf16(),
        gradient_checkpointing=not from_tiny_base,
    )
    model, tokenizer = load_with_adapter(inputs.model, seed=config.seed) if inputs.model else load_whole(base)
    splits = {"validation": inputs.validation.chats}
    if from_tiny_base:
        splits["general"] = chats(config.base.corpus.validation)
    merge_into = inputs.model if config.merge else None
    recipe = _Recipe(model, tokenizer, plan, config.output, on_progress, merge_into=merge_into)
    return recipe.make(
        inputs.train.chats,
        rehearsal=_rehearsal(config, len(inputs.train.chats)) if from_tiny_base else [],
        exam=_Exam(splits, answered=from_tiny_base),
        origin=_fine_tune_origin(config, inputs, base),
    )


@dataclass(frozen=True)
class _Exam:
    """The chats that a model is measured on before and after; the first of the ``splits`` chooses the checkpoint.

    Where they are ``answered``, exact match is measured too.
    """

    splits: dict[str, Chats]
    answered: bool


@dataclass(frozen=True)
class _Origin:
    """What the record says of where a model comes from, beside the plan of its training."""

    base_model: str | None
    parameters: dict[str, Any]
    data: dict[str, str]


def _fine_tune_origin(config: FineTuneConfig, inputs: TrainingInputs, base: Path) -> _Origin:
    return _Origin(
        base_model=str(base),
        parameters={
            "method": config.method,
            "merged": config.merge and inputs.model is not None,
            "general_share": 0.0 if inputs.model else config.general_share,
            "processes": processes.count(),
        },
        data={
            "train": str(config.train),
            "train_sha256": inputs.identity["train"],
            "validation": str(config.validation),
            "validation_sha256": inputs.identity["validation"],
        },
    )


class _Recipe:
    """A model on its way from its first weights to its folder."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        plan: TrainingPlan,
        folder: Path,
        on_progress: OnProgress,
        *,
        merge_into: ModelFolder | None = None,
    ) -> None:
        """``merge_into`` is what the model was loaded from, where it is an adapter that shall be merged into it."""
        self._merge_into = merge_into
        self._model = model
        self._tokenizer = tokenizer
        self._plan = plan
        self._folder = folder
        self._on_progress = on_progress
        self._max_tokens = min(plan.hyperparameters.max_seq_length, model.config.max_position_embeddings)

    def make(self, train_chats: Chats, *, rehearsal: Chats, exam: _Exam, origin: _Origin) -> TrainingRecord:
        """Measure, train, measure again and save."""
        started_at, started_s = datetime.now(UTC), time.monotonic()
        encoded, validation = self._encode(train_chats), self._encode(next(iter(exam.splits.values())))
        data = TrainingData(
            examples=encoded.examples,
            rehearsal=self._encode(rehearsal).examples if rehearsal else [],
            validation=validation.examples,
        )
        before = self._measure(exam)
        curves = train(self._model, self._tokenizer, data=data, plan=self._plan, on_progress=self._on_progress)
        record = TrainingRecord(
            backend=BACKEND,
            base_model=origin.base_model,
            parameters=origin.parameters | self._parameters() | count(encoded) | count(validation, of="validation_"),
            data=origin.data,
            steps=curves.steps,
            validation=curves.validation,
            best_step=curves.best_step,
            before=before,
            after=self._measure(exam),
            started_at=started_at,
            duration_s=time.monotonic() - started_s,
            versions={name: version(name) for name in ("torch", "transformers", "trl", "peft")},
        )
        if processes.is_first():
            self._save(record)
        return record

    def _encode(self, split: Chats) -> Encoded:
        return encode_chats(self._tokenizer, split, max_tokens=self._max_tokens)

    def _parameters(self) -> dict[str, Any]:
        return {
            **self._plan.hyperparameters.model_dump(),
            "seed": self._plan.seed,
            "max_tokens": self._max_tokens,
            "fingerprint": fingerprint(self._plan.identity),
        }

    def _measure(self, exam: _Exam) -> dict[str, float]:
        scores: dict[str, float] = {}
        for name, split in exam.splits.items():
            examples = self._encode(split).examples
            loss = measure_loss(self._model, examples, batch_size=self._plan.hyperparameters.batch_size)
            scores |= {f"{name}_loss": loss, f"{name}_perplexity": math.exp(loss)}
            if exam.answered:
                scores[f"{name}_exact_match"] = measure_exact_match(
                    self._model, self._tokenizer, split[:ANSWERED_CHATS]
                )
        return scores

    def _save(self, record: TrainingRecord) -> None:
        model = merge_adapter(self._model, self._merge_into) if self._merge_into else self._model
        with replacing_folder(self._folder) as staging:
            save_model(model, self._tokenizer, staging)
            write_file(staging / RECORD_FILE, record.model_dump_json(indent=2).encode() + b"\n")
        shutil.rmtree(self._plan.checkpoints, ignore_errors=True)


def _rehearsal(config: FineTuneConfig, n_train: int) -> Chats:
    """Draw the general dialogues that make up ``general_share`` of every epoch, others for each."""
    corpus = chats(config.base.corpus.train)
    n_an_epoch = round(n_train * config.general_share / (1 - config.general_share))
    return random.Random(config.seed).sample(corpus, min(n_an_epoch * config.hyperparameters.epochs, len(corpus)))
