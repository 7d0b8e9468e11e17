"""--merge leaves whole weights that answer as the adapter beside its base does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from phi3flow.training import BaseConfig, FineTuneConfig, fine_tune, read_record
from tests.support.folders.small_training import small_fine_tune
from tests.support.folders.tiny_phi3 import save_tiny_phi3


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> tuple[FineTuneConfig, FineTuneConfig]:
    """Two fine-tunes of the same settings: the adapter alone, and merged."""
    folder = tmp_path_factory.mktemp("merge")
    base = BaseConfig(cache=folder)
    changes: dict[str, Any] = {"model": save_tiny_phi3(folder / "phi3"), "hyperparameters": {"learning_rate": 0.05}}
    alone = small_fine_tune(folder, base, **changes)
    merged = alone.model_copy(update={"merge": True, "output": folder / "merged"})
    fine_tune(alone)
    fine_tune(merged)
    return alone, merged


def logits(folder: Path) -> Any:
    import torch

    from phi3flow.serving.loading import load_model

    loaded = load_model(folder)
    tokens = torch.tensor([loaded.encode_chat([{"role": "user", "content": "How long does the lamp last?"}])])
    with torch.no_grad():
        return loaded.model(tokens).logits


def test_the_merged_model_is_the_base_with_the_adapter(configs: tuple[FineTuneConfig, FineTuneConfig]) -> None:
    import torch

    alone, merged = configs
    assert alone.model is not None
    torch.testing.assert_close(logits(merged.output), logits(alone.output), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(merged.output), logits(alone.model), atol=1e-2)


def test_it_stands_alone(configs: tuple[FineTuneConfig, FineTuneConfig], tmp_path: Path) -> None:
    moved = shutil.copytree(configs[1].output, tmp_path / "moved")
    assert not list(moved.glob("adapter*"))
    assert logits(moved).shape[-1] > 0


def test_an_adapter_that_stands_there_is_not_the_merged_model(
    configs: tuple[FineTuneConfig, FineTuneConfig],
) -> None:
    alone, _ = configs
    before = read_record(alone.output)
    fine_tune(alone.model_copy(update={"merge": True}))
    after = read_record(alone.output)
    assert before is not None
    assert after is not None
    assert (before.parameters["merged"], after.parameters["merged"]) == (False, True)
    assert before.after == after.after
