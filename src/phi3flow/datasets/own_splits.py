"""The splits that a dataset in a folder has: which files are whose, as the Hugging Face hub has it, and their rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.datasets.shapes import Rows
from phi3flow.datasets.sources import cannot_load, locate, read_files
from phi3flow.datasets.splitting import SPLITS
from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import is_data

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What a split's name begins with, as in ``datasets.data_files``."""

_SAVED = "dataset_dict.json"


@dataclass(frozen=True)
class OwnSplits:
    """The rows of a folder's splits by our names, its own ``names`` of them, and those that are ``left_out``."""

    rows: dict[str, Rows]
    names: dict[str, str]
    left_out: list[str]


def find_own_splits(folder: Path, *, config: str | None) -> OwnSplits:
    """Return the splits of a dataset in a folder; a single one, whatever its name, is train.

    They are those of the README's ``configs``, or what the files' names say (train.jsonl,
    data/train-00000-of-00001.parquet, train/a.csv), or what ``save_to_disk`` wrote. Raises DatasetError where there is
    none, or where it is not plain which is which.
    """
    readers = _saved_splits(folder) if (folder / _SAVED).is_file() else _split_files(folder, config)
    names = _name(list(readers), folder)
    return OwnSplits(
        rows={role: readers[name] for role, name in names.items()},
        names=names,
        left_out=[name for name in readers if name not in names.values()],
    )


def _saved_splits(folder: Path) -> dict[str, Rows]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(str(folder), None, "its own splits", error) from error
    return {name: locate(f"{folder}[{name}]", rows) for name, rows in loaded.items()}


def _split_files(folder: Path, config: str | None) -> dict[str, Rows]:
    files = {str(name): [_shown(Path(path), folder) for path in paths] for name, paths in _find(folder, config).items()}
    for paths in files.values():
        if folder / "test.jsonl" in paths and folder / "test_lines.jsonl" in paths:
            paths.remove(folder / "test_lines.jsonl")  # the same conversations, as prepare-data writes them
    return {name: _rows(folder, config, name, paths) for name, paths in files.items()}


def _rows(folder: Path, config: str | None, name: str, paths: list[Path]) -> Rows:
    """Yield a split's rows out of its files; of a format that only ``datasets`` reads, as it reads them."""
    if all(map(is_data, paths)):
        yield from read_files(paths)
        return
    import datasets

    try:
        loaded = datasets.load_dataset(str(folder), config, split=name)
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(str(folder), config, f"split {name}", error) from error
    yield from locate(f"{folder}[{name}]", loaded)


def _find(folder: Path, config: str | None) -> Mapping[Any, Any]:
    import datasets
    from datasets.data_files import DataFilesDict, get_data_patterns

    datasets.disable_progress_bars()
    try:
        files: Mapping[Any, Any] = datasets.load_dataset_builder(str(folder), config).config.data_files or {}
    except (OSError, ValueError, RuntimeError) as error:
        if "same data file format" not in str(error):
            raise cannot_load(str(folder), config, "its own splits", error) from error
        files = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))  # of several formats
    return files


def _shown(path: Path, folder: Path) -> Path:
    """Return a file's path as the user would write it."""
    resolved = folder.resolve()
    return folder / path.relative_to(resolved) if path.is_relative_to(resolved) else path


def _name(splits: list[str], folder: Path) -> dict[str, str]:
    """Return the split that each of ours is."""
    if len(splits) == 1:
        return {"train": splits[0]}
    names: dict[str, str] = {}
    for role in SPLITS:
        candidates = [split for split in splits if re.split(r"[-_. ]", split.lower())[0] in _WORDS[role]]
        candidates = [role] if role in candidates else candidates
        if len(candidates) > 1:
            raise DatasetError(
                f"{folder}: {' and '.join(candidates)} may both be {role}; take one by --split, which is then split"
            )
        if candidates:
            names[role] = candidates[0]
    if "train" not in names:
        raise DatasetError(f"{folder} has the splits {', '.join(splits)} and none to train on: take one by --split")
    return names
