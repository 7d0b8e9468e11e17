"""``training.json`` in a model's folder: how it was trained, its curves, and the figures before and after."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from phi3flow.records.record import Record


class TrainingStep(Record):
    """One logged optimisation step: ``loss`` is the mean over assistant tokens since the last log."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class ValidationPoint(Record):
    """The validation loss (nats a token, assistant tokens only) and perplexity = exp(loss) at a step."""

    step: int
    loss: float
    perplexity: float


class TrainingRecord(Record):
    """``training.json``: a training's parameters, data and curves, and the scores before and after.

    ``before`` and ``after`` hold named figures, for example validation_loss, validation_perplexity,
    general_loss, general_perplexity.
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
