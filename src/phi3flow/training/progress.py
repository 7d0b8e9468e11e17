"""What a running training tells: one report a logged step, a validation or a change of phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["base model", "fine-tune"]


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands.

    ``loss`` and ``learning_rate`` are None in a report of a validation, ``validation_loss`` in one of a step; both
    losses are in nats a token over assistant tokens. ``remaining_s`` is None until a step has been timed.
    """

    phase: Phase
    step: int
    total_steps: int
    elapsed_s: float
    remaining_s: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None


OnProgress = Callable[[TrainingProgress], None]


def ignore_progress(progress: TrainingProgress) -> None:
    """Take a report and do nothing with it."""
