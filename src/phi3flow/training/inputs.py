"""What a fine-tune reads: its chats and its weights, and what tells one training from another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import locate_chats
from phi3flow.errors import ConfigError
from phi3flow.storage.data_files import unchanged_data
from phi3flow.storage.jsonl import Row
from phi3flow.training import processes
from phi3flow.training.checkpoints import Identity
from phi3flow.training.config import FineTuneConfig, fingerprint
from phi3flow.training.model_folder import ModelFolder, find_model

Chats = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class ChatFile:
    """A file's chats, and the lines on which they stand."""

    path: Path
    chats: Chats
    lines: list[int]


@dataclass(frozen=True)
class TrainingInputs:
    """The chats of both files, where given weights are, and the training's ``identity``."""

    train: ChatFile
    validation: ChatFile
    model: ModelFolder | None
    identity: Identity

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the identity, under the present recipe."""
        return fingerprint(self.identity)


def read_inputs(config: FineTuneConfig) -> TrainingInputs:
    """Read and check a fine-tune's files. Raises DatasetError that lists every breach, ConfigError for no model."""
    model = _find_model(config) if config.model else None
    with unchanged_data(config.train) as train, unchanged_data(config.validation) as validation:
        chat_files = _read(config.train), _read(config.validation)
    return TrainingInputs(
        train=chat_files[0],
        validation=chat_files[1],
        model=model,
        identity={
            "method": config.method,
            "model": _stamp(model) if model else config.base.fingerprint,
            "train": train,
            "validation": validation,
            "general_share": config.general_share,
            "seed": config.seed,
            **config.hyperparameters.model_dump(),
            **({"merge": True} if config.merge else {}),
            **({"processes": processes.count()} if processes.count() > 1 else {}),
        },
    )


def chats(rows: list[Row]) -> Chats:
    """Return the messages of chat rows."""
    return [row["messages"] for row in rows]


def _read(path: Path) -> ChatFile:
    rows = locate_chats(path)
    return ChatFile(path, chats([located.row for located in rows]), [located.line for located in rows])


def _find_model(config: FineTuneConfig) -> ModelFolder:
    folder = config.model or Path()
    if not folder.is_dir():
        raise ConfigError(
            f"--model {folder}: there is no such folder. `hf download microsoft/Phi-3-mini-4k-instruct "
            "--local-dir FOLDER` writes one; without --model the tiny base model is fine-tuned"
        )
    model = find_model(folder)
    if model.config != model.weights and not config.merge:
        raise ConfigError(
            f"--model {folder}: its configuration and its weights lie in two folders, and an adapter names one as its "
            "base: add --merge"
        )
    return model


def _stamp(model: ModelFolder) -> str:
    """Tell a model's weights by path, size and time of change: hashing gigabytes would take longer than it saves."""
    folders = dict.fromkeys((model.weights, model.config, model.tokenizer))
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    kept = [path for path in files if path.suffix in {".safetensors", ".bin", ".json"}]
    stamps = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in kept]
    return " ".join([str(model.weights.resolve()), *stamps])
