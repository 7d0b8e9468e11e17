"""The splits of a dataset in a folder: which files are whose, by their names or as the hub has it, and their rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.datasets.shapes import Rows
from phi3flow.datasets.sources import cannot_load, locate, read_files
from phi3flow.datasets.splitting import SPLITS
from phi3flow.errors import DatasetError
from phi3flow.records.yaml_text import YamlError, parse_yaml
from phi3flow.storage.data_files import data_files, is_data

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What the name of a split has among its words, as in ``datasets.data_files``."""

_SAVED = "dataset_dict.json"
_SAVED_SPLIT = ("dataset_info.json", "state.json")
_ABOUT = ("data_card.json", "dataset_infos.json")
_NO_SPLIT = ""
_HUB_SHARD = re.compile(r"data/.+-\d{5}-of-\d{5,}\.[^/]+")


@dataclass(frozen=True)
class OwnSplits:
    """The rows of a folder's splits by our names, its own ``names`` of them, and what is ``left_out``.

    ``pooled`` is the flag that reads them all, to be split anew.
    """

    rows: dict[str, Rows]
    names: dict[str, str]
    left_out: list[str]
    pooled: str


def find_own_splits(folder: Path, *, config: str | None) -> OwnSplits:
    """Return the splits of a dataset in a folder; what has no split in its name, or train alone, is train.

    They are what ``save_to_disk`` wrote, those of the README's ``configs``, the hub's shards
    (data/train-00000-of-00001.parquet), or what the files' names say in upper case or lower (Train.jsonl,
    dev/a.csv). Raises DatasetError where there is none, nothing to train on, or not plain which is which.
    """
    if (folder / _SAVED).is_file() or all((folder / name).is_file() for name in _SAVED_SPLIT):
        return _named(_saved_splits(folder), folder)
    files = [] if config or _has_configs(folder) else _files(folder)
    if not files or any(_HUB_SHARD.fullmatch(file.relative_to(folder).as_posix()) for file in files):
        return _named(_split_files(folder, config), folder)
    return _splits_by_name(files, folder)


def _has_configs(folder: Path) -> bool:
    """Whether the README says, in the YAML at its head, which files are whose."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8-sig")
        head = parse_yaml(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, IndexError, YamlError):
        return False
    return isinstance(head, dict) and "configs" in head


def _files(folder: Path) -> list[Path]:
    """Return the files of data, without those that say something of them; none where there are none."""
    try:
        files = data_files(folder)
    except DatasetError:
        return []
    written = {folder / "test_lines.jsonl"} if folder / "test.jsonl" in files else set()  # the same conversations
    return [file for file in files if file not in written and file.name not in _ABOUT]


def _splits_by_name(files: Sequence[Path], folder: Path) -> OwnSplits:
    by_split: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_split[_split_of(file.relative_to(folder))].append(file)
    others = by_split.pop(_NO_SPLIT, [])
    if not by_split:
        by_split, others = {"train": others}, []
    if "train" not in by_split:
        raise DatasetError(
            f"{folder} has files of {' and '.join(by_split)} and none to train on; to split some of them: "
            f"--input {by_split[next(iter(by_split))][0]}"
        )
    return OwnSplits(
        rows={split: read_files(by_split[split]) for split in SPLITS if split in by_split},
        names={split: split for split in SPLITS if split in by_split},
        left_out=[file.relative_to(folder).as_posix() for file in others],
        pooled=f"--input {folder}",
    )


def _split_of(file: Path) -> str:
    """Return the split that a file's name has among its words, or else a folder's around it, or else _NO_SPLIT.

    Raises DatasetError for a name that has two.
    """
    for part in (file.name.split(".")[0], *(parent.name for parent in file.parents)):
        splits = _named_splits(part)
        if len(splits) > 1:
            raise DatasetError(f"{file}: {part} may be {' or '.join(splits)}: rename it, or give files by --input")
        if splits:
            return splits[0]
    return _NO_SPLIT


def _named_splits(name: str) -> list[str]:
    """Return the splits that a name has among its words."""
    words = set(re.split(r"[-_. 0-9]+", name.lower()))
    return [split for split, names in _WORDS.items() if words & {*names}]


def _named(readers: dict[str, Rows], folder: Path) -> OwnSplits:
    names = _name(list(readers), folder)
    return OwnSplits(
        rows={role: readers[name] for role, name in names.items()},
        names=names,
        left_out=[name for name in readers if name not in names.values()],
        pooled=f"--split {'+'.join(names.values())}",
    )


def _saved_splits(folder: Path) -> dict[str, Rows]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(str(folder), None, "its own splits", error) from error
    splits = loaded if isinstance(loaded, dict) else {"all": loaded}
    return {name: locate(f"{folder}[{name}]", rows) for name, rows in splits.items()}


def _split_files(folder: Path, config: str | None) -> dict[str, Rows]:
    files = {str(name): [_shown(Path(path), folder) for path in paths] for name, paths in _find(folder, config).items()}
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

    datasets.disable_progress_bars()
    try:
        files: Mapping[Any, Any] = datasets.load_dataset_builder(str(folder), config).config.data_files or {}
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(str(folder), config, "its own splits", error) from error
    return files


def _shown(path: Path, folder: Path) -> Path:
    """Return a file's path as the user would write it."""
    resolved = folder.resolve()
    return folder / path.relative_to(resolved) if path.is_relative_to(resolved) else path


def _name(splits: list[str], folder: Path) -> dict[str, str]:
    """Return the split that each of ours is."""
    names: dict[str, str] = {}
    for role in SPLITS:
        candidates = [split for split in splits if _named_splits(split) == [role]]
        candidates = [role] if role in candidates else candidates
        if len(candidates) > 1:
            raise DatasetError(
                f"{folder}: {' and '.join(candidates)} may both be {role}; take one by --split, which is then split"
            )
        if candidates:
            names[role] = candidates[0]
    if len(splits) == 1 and not names:
        return {"train": splits[0]}
    if "train" not in names:
        raise DatasetError(f"{folder} has the splits {', '.join(splits)} and none to train on: take one by --split")
    return names
