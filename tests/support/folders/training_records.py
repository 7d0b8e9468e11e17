"""Training records as fine-tune writes them, here or after a service, for tests of what reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from phi3flow.records.training import TrainingRecord, TrainingStep, ValidationPoint
from phi3flow.training.results_file import read_results
from phi3flow.training.service_curves import service_record

RESULTS = """step,train_loss,train_mean_token_accuracy,valid_loss,validation_mean_token_accuracy,full_valid_loss,\
full_valid_mean_token_accuracy
1,2.0,0.50,2.2,0.45,,
2,1.5,0.60,,,,
3,1.0,0.70,1.4,0.62,,
4,0.8,0.75,,,1.2,0.66
5,0.6,0.80,1.1,0.68,,
6,0.5,0.85,,,0.9,0.71
"""
"""results.csv of a fine-tune of two epochs."""


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


def service_training_record(**changes: Any) -> TrainingRecord:
    """Return the record of a fine-tune that Azure OpenAI ran; ``changes`` replace what it was told besides curves."""
    settings: dict[str, Any] = {
        "backend": "azure-openai",
        "base_model": "gpt-4.1-mini-2025-04-14",
        "parameters": {"n_epochs": 2, "seed": 0},
        "data": {"train": "data/train.jsonl", "validation": "data/validation.jsonl"},
        "started_at": datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
        "duration_s": 2100.0,
        "billed_tokens": 31256,
    }
    return service_record(read_results(RESULTS), **settings | changes)
