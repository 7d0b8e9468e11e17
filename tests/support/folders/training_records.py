"""A training record as fine-tune writes it, for tests of what reads it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from phi3flow.records.training import TrainingRecord, TrainingStep, ValidationPoint


def training_record(**changes: Any) -> TrainingRecord:
    """Return a record of 20 steps with falling loss; ``changes`` replace its fields."""
    losses = [2 * math.exp(-step / 8) + 0.1 for step in range(1, 21)]
    fields = {
        "backend": "local",
        "base_model": "models/base",
        "parameters": {"learning_rate": 0.001, "epochs": 2},
        "data": {"train": "data/train.jsonl"},
        "steps": [
            TrainingStep(step=step, epoch=step / 10, loss=loss, learning_rate=0.001 * (1 - step / 25))
            for step, loss in enumerate(losses, start=1)
        ],
        "validation": [
            ValidationPoint(step=step, loss=losses[step - 1], perplexity=math.exp(losses[step - 1]))
            for step in (10, 20)
        ],
        "best_step": 20,
        "before": {"validation_loss": 2.0, "validation_perplexity": math.exp(2.0), "general_perplexity": 5.0},
        "after": {"validation_loss": 0.3, "validation_perplexity": math.exp(0.3), "general_perplexity": 6.0},
        "started_at": datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
        "duration_s": 61.0,
        "versions": {"torch": "2.13.0"},
    }
    return TrainingRecord.model_validate(fields | changes)
