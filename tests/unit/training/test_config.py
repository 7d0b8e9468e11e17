"""Hyperparameters: each method's own, and wrong ones named by their flag."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError
from phi3flow.training import (
    fine_tune_config,
)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"learning_rate": 0.0}, "--learning-rate 0.0: .*greater than 0"),
        ({"learning_rate": math.nan}, "--learning-rate nan"),
        ({"lr_scheduler_type": "sideways"}, "--lr-scheduler-type sideways: .*cosine"),
        ({"max_seq_length": 2}, "--max-seq-length 2"),
    ],
)
def test_a_wrong_hyperparameter_is_named_by_its_flag(hyperparameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fine_tune_config(hyperparameters=hyperparameters)


def test_methods_have_hyperparameters_of_their_own() -> None:
    whole, adapter = fine_tune_config(), fine_tune_config(model=Path("phi3"), hyperparameters={"epochs": 1})
    assert whole.hyperparameters.learning_rate > adapter.hyperparameters.learning_rate
    assert adapter.hyperparameters.epochs == 1
    assert adapter.hyperparameters.batch_size == 4
