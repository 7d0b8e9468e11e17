"""Trainings that take seconds: a base of hidden size 32 on a few dialogues, and fine-tunes of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phi3flow.storage.jsonl import write_rows
from phi3flow.training import BaseConfig, FineTuneConfig, Hyperparameters

ANSWERS = {"lamp": "7 hours", "kettle": "3 hours", "fan": "9 hours", "radio": "5 hours"}


def chat(thing: str, *, opening: str = "How long does the") -> dict[str, Any]:
    """Return one chat about a thing's battery."""
    question, answer = f"{opening} {thing} last?", f"The {thing} lasts {ANSWERS[thing]}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write_chats(folder: Path) -> tuple[Path, Path]:
    """Write 32 chats to train on and 4 to validate with, and return both files."""
    train, validation = folder / "train.jsonl", folder / "validation.jsonl"
    openings = [
        f"{word} the" for word in ("How long does", "Tell me how many hours", "Say how long", "For how long does")
    ]
    write_rows(train, [chat(thing, opening=opening) for opening in openings for thing in ANSWERS] * 2)
    write_rows(validation, [chat(thing, opening="Until when does the") for thing in ANSWERS])
    return train, validation


def small_base(folder: Path, **changes: Any) -> BaseConfig:
    """Return a base that trains in seconds and is kept in ``folder``."""
    settings: dict[str, Any] = {
        "dialogues": 96,
        "vocabulary_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "layers": 2,
        "context_tokens": 256,
        "hyperparameters": Hyperparameters(learning_rate=5e-3, epochs=1, batch_size=32, max_seq_length=256),
        "cache": folder,
    }
    return BaseConfig.model_validate(settings | changes)


def small_fine_tune(folder: Path, base: BaseConfig, **changes: Any) -> FineTuneConfig:
    """Return a fine-tune of 3 epochs of 5 steps, with its files in ``folder``."""
    train, validation = write_chats(folder)
    hyperparameters = {"learning_rate": 0.01, "epochs": 3, "batch_size": 8, **changes.pop("hyperparameters", {})}
    settings = {"train": train, "validation": validation, "output": folder / "model", "base": base}
    return FineTuneConfig.model_validate({**settings, "hyperparameters": hyperparameters, **changes})
