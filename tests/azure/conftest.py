"""An emulated Azure for each test, and a project's folder whose commands talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator


@pytest.fixture
def azure(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    """Start an empty subscription, and log the test and what it starts into it."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder in which the commands are given."""
    return tmp_path
