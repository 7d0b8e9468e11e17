"""Folders that a kill cannot tear: a training's checkpoints, each with the inputs that it follows from, and models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError, StorageError

IDENTITY_FILE = "settings.json"
_PREFIX = "checkpoint-"

Identity = dict[str, Any]
"""All that decides what a training gives, by name: two trainings with the same are one, and a checkpoint of it serves.

The values are what JSON holds: they are written beside the checkpoint, and differ from training to training.
"""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where the checkpoint of ``step`` lies."""
    return folder / f"{_PREFIX}{step}"


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the highest step, None where there is none. Every one that exists is whole."""
    return max(folder.glob(f"{_PREFIX}[0-9]*"), key=_step, default=None)


def read_identity(checkpoint: Path) -> Identity:
    """Return what decided the training that a checkpoint is of."""
    identity: Identity = json.loads((checkpoint / IDENTITY_FILE).read_bytes())
    return identity


def write_identity(checkpoint: Path, identity: Identity) -> None:
    """Write it into a checkpoint's folder."""
    (checkpoint / IDENTITY_FILE).write_text(json.dumps(identity))


def choose_checkpoint(folder: Path, identity: Identity, *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, None to begin.

    An unfinished training of another identity is discarded. Raises ConfigError where ``resume`` finds none, or one
    of another identity, and where a beginning would throw away what this one has reached.
    """
    latest = latest_checkpoint(folder)
    if latest is None:
        if resume:
            raise ConfigError(f"--resume: there is no checkpoint in {folder}; leave --resume out to begin")
        return None
    changed = _differences(read_identity(latest), identity)
    if resume and changed:
        raise ConfigError(f"--resume: {latest} was made with other settings: {changed}; give those, or begin anew")
    if not resume and not changed:
        raise ConfigError(
            f"{latest} is an unfinished training with these settings: add --resume to go on, or delete {folder}"
        )
    if changed:
        shutil.rmtree(folder)
        return None
    return latest


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which takes the place of ``folder`` once it is complete and on disk.

    Raises StorageError where the disk refuses; what stood there is then unchanged.
    """
    staging = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        _flush(staging)
        _swap(staging, folder)
    except Exception as error:
        shutil.rmtree(staging, ignore_errors=True)
        if _is_refusal(error):
            raise StorageError(
                f"{folder} cannot be written ({error}); what stood there is kept. Make room, then add --resume"
            ) from error
        raise


def _swap(staging: Path, folder: Path) -> None:
    """Rename ``staging`` to ``folder``; a kill in between leaves the old one aside, where the next call removes it."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_refusal(error: Exception) -> bool:
    """Tell a full or read-only disk: safetensors and torch.save report it by errors of their own."""
    from safetensors import SafetensorError

    return isinstance(error, (OSError, SafetensorError)) or "PytorchStreamWriter" in str(error)


def _differences(before: Identity, now: Identity) -> str:
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in names)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))
