"""Where conversations come from: data files, and Hugging Face datasets.

Every reader yields rows with their source and line, or what is wrong with a row instead, so that one pass lists
all that is. ``shapes`` makes chats of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow, locate_rows
from phi3flow.datasets.shapes import Rows
from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import data_sha256, refuse_changed
from phi3flow.storage.parquet import json_row
from phi3flow.text import shorten


def read_files(paths: Iterable[Path]) -> Rows:
    """Yield the rows of several files and folders, in whatever form."""
    for path in paths:
        yield from locate_rows(path)


def read_hashed(paths: Iterable[Path]) -> tuple[dict[str, str], Rows]:
    """Return the SHA-256 of files and folders, and their rows; what changed in between is refused at the last row."""
    hashes = {path: data_sha256(path) for path in paths}

    def rows() -> Rows:
        yield from read_files(hashes)
        for path, sha256 in hashes.items():
            refuse_changed(path, sha256)

    return {str(path): sha256 for path, sha256 in hashes.items()}, rows()


def read_hugging_face(name: str, *, config: str | None, split: str) -> Rows:
    """Yield the rows of a split of a dataset on the Hugging Face hub, or of a local folder in its layout.

    ``split`` may take a slice (``train_sft[:1%]``). Raises DatasetError where it cannot be loaded.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise cannot_load(name, config, f"split {split}", error) from error
    yield from locate(f"{name}[{split}]", loaded)


def cannot_load(name: str, config: str | None, split: str, error: Exception) -> DatasetError:
    """Return the error that says why a dataset cannot be loaded, and what to do."""
    return DatasetError(
        f"the dataset {name} (config {config or 'default'}, {split}) cannot be loaded: "
        f"{shorten(str(error))} Check the names; without a way to the hub give a local folder, or files by --input"
    )


def locate(source: str, rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Yield rows out of Arrow as JSON holds them, numbered from 1."""
    for number, row in enumerate(rows, start=1):
        try:
            yield LocatedRow(source, number, json_row(row))
        except ValueError as error:
            yield Breach(source, number, str(error))
