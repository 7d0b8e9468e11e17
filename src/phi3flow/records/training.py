"""``training.json`` in a model's folder: how it was trained, its curves, and the figures before and after."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from phi3flow.records.record import Record


class TrainingStep(Record):
    """One logged optimisation step: ``loss`` is the mean over assistant tokens since the last log.

    None is what a service does not tell. ``token_accuracy`` is the share of tokens that were the likeliest.
    """

    step: int
    epoch: float | None = None
    loss: float
    learning_rate: float | None = None
    token_accuracy: float | None = None


class ValidationPoint(Record):
    """The validation loss (nats a token, assistant tokens only) and perplexity = exp(loss) at a step.

    ``of_a_batch``: measured on one batch, and not on all of the validation data.
    """

    step: int
    loss: float
    perplexity: float
    token_accuracy: float | None = None
    of_a_batch: bool = False


class TrainingRecord(Record):
    """``training.json``: a training's parameters, data and curves, and the scores before and after.

    ``before`` and ``after`` hold named figures, for example validation_loss, validation_perplexity,
    general_loss, general_perplexity; of a service's, ``before`` is empty. ``billed_tokens`` are what it charges for.
    """

    schema_version: int = 1
    backend: str
    base_model: str | None
    parameters: dict[str, Any]
    data: dict[str, str]
    steps: list[TrainingStep]
    validation: list[ValidationPoint]
    best_step: int | None
    before: dict[str, float]
    after: dict[str, float]
    started_at: datetime
    duration_s: float
    versions: dict[str, str]
    billed_tokens: int | None = None
