"""A model in a folder: as transformers writes it, or inside the folder of an MLflow model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phi3flow.errors import ConfigError

CONFIG = "config.json"
TOKENIZER = "tokenizer_config.json"
_DEPTH = 3


@dataclass(frozen=True)
class ModelFolder:
    """The folders of a model's parts; where transformers wrote it, they are one."""

    weights: Path
    config: Path
    tokenizer: Path


def find_model(folder: Path) -> ModelFolder:
    """Return where the parts of the model in or below ``folder`` are.

    MLflow's transformers flavour has model and components/tokenizer; that of Azure's registry has data/model,
    data/config and data/tokenizer. Raises ConfigError for a folder with no model, with several, or with an adapter.
    """
    if (folder / "adapter_config.json").is_file():
        raise ConfigError(f"--model {folder} is an adapter: give the folder of its base, whose weights it changes")
    candidates = [folder] if (folder / CONFIG).is_file() else _find_weights(folder)
    if not candidates:
        raise ConfigError(
            f"--model {folder} is not a model folder: it has no {CONFIG}. Give a folder as "
            "`hf download microsoft/Phi-3-mini-4k-instruct --local-dir FOLDER` writes it, or an MLflow model"
        )
    if len(candidates) > 1:
        raise ConfigError(f"--model {folder} holds several models: give {' or '.join(map(str, candidates))}")
    weights = candidates[0]
    inside = {weights: None, **dict.fromkeys(_below(folder) if weights != folder else ())}
    tokenizer = next((path for path in inside if (path / TOKENIZER).is_file()), weights)
    return ModelFolder(weights, _config_folder(weights) or weights, tokenizer)


def _find_weights(folder: Path) -> list[Path]:
    """Return the folders with weights and a configuration, of those nearest to ``folder``."""
    candidates = [path for path in _below(folder) if _has_weights(path) and _config_folder(path)]
    nearest = min((len(path.parts) for path in candidates), default=0)
    return [path for path in candidates if len(path.parts) == nearest]


def _below(folder: Path) -> list[Path]:
    """Return the folders below, the nearest first."""
    levels = ["/".join("*" * depth) for depth in range(1, _DEPTH + 1)]
    return [path for level in levels for path in sorted(folder.glob(level)) if path.is_dir()]


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def _config_folder(weights: Path) -> Path | None:
    return next((path for path in (weights, weights.parent / "config") if (path / CONFIG).is_file()), None)
