"""What a fine-tune reads: its chats, and the settings that tell one training from another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.datasets import read_chats
from phi3flow.errors import ConfigError
from phi3flow.jsonl import file_sha256
from phi3flow.training.settings import FineTuneConfig

Chats = list[list[dict[str, str]]]


@dataclass(frozen=True)
class TrainingInputs:
    """The chats of both files, and ``settings``: everything that decides the weights, by name."""

    train: Chats
    validation: Chats
    settings: dict[str, Any]


def read_inputs(config: FineTuneConfig) -> TrainingInputs:
    """Read and check a fine-tune's files. Raises DatasetError that lists every breach, ConfigError for no model."""
    if config.model and not config.model.is_dir():
        raise ConfigError(
            f"--model {config.model}: there is no such folder. `hf download microsoft/Phi-3-mini-4k-instruct "
            "--local-dir FOLDER` writes one; without --model the tiny base model is fine-tuned"
        )
    return TrainingInputs(
        train=chats(read_chats(config.train)),
        validation=chats(read_chats(config.validation)),
        settings={
            "method": config.method,
            "model": _stamp(config.model) if config.model else config.base.fingerprint,
            "train": file_sha256(config.train),
            "validation": file_sha256(config.validation),
            "general_share": config.general_share,
            "seed": config.seed,
            **config.hyperparameters.model_dump(),
        },
    )


def chats(rows: list[dict[str, Any]]) -> Chats:
    """Return the messages of chat rows."""
    return [row["messages"] for row in rows]


def _stamp(folder: Path) -> str:
    """Tell a folder's weights by path, size and time of change: hashing gigabytes would take longer than it saves."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in {".safetensors", ".bin", ".json"}]
    stamps = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
    return " ".join([str(folder.resolve()), *stamps])
