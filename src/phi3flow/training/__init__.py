"""Training on this machine: the tiny base model, fine-tunes of it, and adapters on real Phi-3 weights.

Nothing here imports torch before a training begins, and nothing deploys what it made.
"""

from __future__ import annotations

from phi3flow.training.config import BaseConfig, FineTuneConfig, Hyperparameters, fine_tune_config
from phi3flow.training.kept_models import (
    can_resume,
    check_examples,
    find_fine_tuned,
    fine_tune,
    read_record,
    train_base,
)
from phi3flow.training.progress import TrainingProgress

__all__ = [
    "BaseConfig",
    "FineTuneConfig",
    "Hyperparameters",
    "TrainingProgress",
    "can_resume",
    "check_examples",
    "find_fine_tuned",
    "fine_tune",
    "fine_tune_config",
    "read_record",
    "train_base",
]
