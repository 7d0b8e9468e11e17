"""One training loop for every model: trl's SFTTrainer, with checkpoints that a kill cannot tear."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
)
from transformers.trainer import TRAINER_STATE_NAME
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from phi3flow.errors import ConfigError
from phi3flow.records.training import TrainingStep, ValidationPoint
from phi3flow.training import processes
from phi3flow.training.checkpoints import Identity, checkpoint_path, replacing_folder, write_identity
from phi3flow.training.config import Hyperparameters
from phi3flow.training.epoch_order import EpochOrder
from phi3flow.training.examples import Example
from phi3flow.training.measurement import measure_loss
from phi3flow.training.progress import OnProgress, Phase, TrainingProgress

VALIDATIONS = 8
"""How often in a training the model is validated and a checkpoint written."""

LOGS = 60


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: ``checkpoints`` is the folder for them, ``resume_from`` the one to go on from."""

    phase: Phase
    hyperparameters: Hyperparameters
    seed: int
    checkpoints: Path
    identity: Identity
    resume_from: Path | None
    bf16: bool = False
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class TrainingData:
    """What a model learns from: an epoch sees all ``examples`` and its part of the ``rehearsal``.

    That is what the model knew before: a few of these again and again would be learnt by heart, and the rest
    forgotten. ``validation`` chooses the checkpoint.
    """

    examples: Sequence[Example]
    rehearsal: Sequence[Example]
    validation: Sequence[Example]


@dataclass(frozen=True)
class Curves:
    """What a training logged; the model has the weights of ``best_step``, the lowest validation loss."""

    steps: list[TrainingStep]
    validation: list[ValidationPoint]
    best_step: int | None


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    data: TrainingData,
    plan: TrainingPlan,
    on_progress: OnProgress,
) -> Curves:
    """Train ``model`` in place and leave in it the weights that validated best.

    On a CPU the same call gives the same weights bit for bit, resumed or not: the order of the data follows from
    (seed, epoch) alone, and a checkpoint holds the random state. Several processes take a batch each at every step,
    and end with the same weights; resumed, they draw other dropout.
    """
    _refuse_idle_gpus()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = _Trainer(model, tokenizer, data=data, plan=plan, on_progress=on_progress)
        try:
            trainer.train(resume_from_checkpoint=str(plan.resume_from) if plan.resume_from else None)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the GPU's memory is full ({error}): take a smaller --batch-size or --max-seq-length"
            ) from error
    processes.copy_from_first(weight for weight in model.parameters() if weight.requires_grad)
    return _curves(trainer.state)


def _refuse_idle_gpus() -> None:
    if processes.count() == 1 and torch.cuda.device_count() > 1:
        raise ConfigError(
            "several GPUs are visible, and a process trains on one: set CUDA_VISIBLE_DEVICES=0, or give --model and "
            f"start `torchrun --nproc-per-node {torch.cuda.device_count()} -m phi3flow.cli.main fine-tune …`"
        )


def _steps_an_epoch(order: EpochOrder, plan: TrainingPlan) -> int:
    return math.ceil(math.ceil(len(order) / plan.hyperparameters.batch_size) / processes.count())


def _arguments(plan: TrainingPlan, *, steps_an_epoch: int) -> SFTConfig:
    chosen = plan.hyperparameters
    total_steps = chosen.epochs * steps_an_epoch
    every = max(1, math.ceil(total_steps / VALIDATIONS))
    return SFTConfig(
        output_dir=str(plan.checkpoints),
        num_train_epochs=chosen.epochs,
        per_device_train_batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type=chosen.lr_scheduler_type,
        warmup_steps=math.ceil(chosen.warmup_share * total_steps),
        adam_beta2=chosen.adam_beta2,
        weight_decay=chosen.weight_decay,
        seed=plan.seed,
        bf16=plan.bf16,
        gradient_checkpointing=plan.gradient_checkpointing,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        load_best_model_at_end=processes.is_first(),  # the others get it from the first: only its disk has it
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, total_steps // LOGS),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
    )


class _Trainer(SFTTrainer):  # type: ignore[misc]  # mypy skips trl
    """SFTTrainer, but for the data's order, a validation by token, atomic checkpoints, and the loss on a CPU."""

    control: TrainerControl

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        data: TrainingData,
        plan: TrainingPlan,
        on_progress: OnProgress,
    ) -> None:
        self.plan = plan
        self.validation = data.validation
        self.order = EpochOrder(
            [len(example["input_ids"]) for example in (*data.examples, *data.rehearsal)],
            n_rehearsal=len(data.rehearsal),
            epochs=plan.hyperparameters.epochs,
            batch_size=plan.hyperparameters.batch_size,
            seed=plan.seed,
        )
        super().__init__(
            model,
            _arguments(plan, steps_an_epoch=_steps_an_epoch(self.order, plan)),
            train_dataset=Dataset.from_list([*data.examples, *data.rehearsal]),
            eval_dataset=Dataset.from_list(list(data.validation)),
            processing_class=tokenizer,
            callbacks=[_Reporter(plan.phase, on_progress)],
        )
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Return trl's loss on a GPU; on a CPU its fused head takes longer, and transformers' gives the same value."""
        trainer: Any = SFTTrainer if torch.cuda.is_available() else Trainer
        return trainer.compute_loss(self, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validate with every token weighing the same; trainer's own mean is over batches."""
        model: Any = self.model
        metrics = {"eval_loss": measure_loss(model, self.validation, batch_size=self.args.train_batch_size)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint beside its place, then rename; then delete all but it and the best."""
        step, best = self.state.global_step, self.state.best_global_step
        folder = self.plan.checkpoints
        if not processes.is_first():
            return
        kept = {checkpoint_path(folder, number) for number in (step, best) if number}
        with replacing_folder(checkpoint_path(folder, step)) as staging:
            self.save_model(str(staging), _internal_call=True)
            self._save_optimizer_and_scheduler(str(staging))
            self._save_rng_state(str(staging))
            self.state.best_model_checkpoint = str(checkpoint_path(folder, best)) if best else None
            self.state.save_to_json(str(staging / TRAINER_STATE_NAME))
            write_identity(staging, self.plan.identity)
        for checkpoint in set(folder.glob(checkpoint_path(folder, 0).name[:-1] + "*")) - kept:
            shutil.rmtree(checkpoint)


class _Reporter(TrainerCallback):  # type: ignore[misc]  # mypy skips transformers
    """Turns what the trainer logs into progress reports."""

    def __init__(self, phase: Phase, on_progress: OnProgress) -> None:
        self._phase = phase
        self._on_progress = on_progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock; a resumed training's remaining time counts its own steps only."""
        self._started_s = time.monotonic()
        self._first_step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Report a logged step or a validation."""
        if "loss" not in logs and "eval_loss" not in logs:
            return
        elapsed_s = time.monotonic() - self._started_s
        steps = state.global_step - self._first_step
        self._on_progress(
            TrainingProgress(
                phase=self._phase,
                step=state.global_step,
                total_steps=state.max_steps,
                elapsed_s=elapsed_s,
                remaining_s=elapsed_s / steps * (state.max_steps - state.global_step) if steps else None,
                loss=logs.get("loss"),
                learning_rate=logs.get("learning_rate"),
                validation_loss=logs.get("eval_loss"),
            )
        )


def _curves(state: Any) -> Curves:
    return Curves(
        steps=[
            TrainingStep(step=log["step"], epoch=log["epoch"], loss=log["loss"], learning_rate=log["learning_rate"])
            for log in state.log_history
            if "loss" in log
        ],
        validation=[validation_point(log["step"], log["eval_loss"]) for log in state.log_history if "eval_loss" in log],
        best_step=state.best_global_step,
    )


def validation_point(step: int, loss: float) -> ValidationPoint:
    """Return a point of the validation curve; perplexity is exp(loss)."""
    return ValidationPoint(step=step, loss=loss, perplexity=math.exp(loss))
