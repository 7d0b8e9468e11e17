"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.folders.batch_project import BatchProject

MakeProject = Callable[..., BatchProject]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Return a function that makes a BatchProject in a folder of its own: ``make_project(lines=40)``."""
    made: list[BatchProject] = []

    def make(*, lines: int, **arguments: str) -> BatchProject:
        folder = tmp_path / f"project-{len(made)}"
        folder.mkdir()
        made.append(BatchProject(folder, lines=lines, **arguments))
        return made[-1]

    return make
