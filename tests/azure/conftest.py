"""An emulated Azure for each test, and a project's folder whose commands talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.openai_project import OpenAIProject, make_project

_SLOW = (
    "test_emulator_endpoints.py",
    "test_emulator_jobs.py",
    "test_emulator_machine_learning.py",
    "test_emulator_openai.py",
    "test_emulator_openai_arm.py",
    "test_emulator_serverless.py",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules out that would be deselected: each process would import azure-ai-ml, which takes 5 s, to see it."""
    is_slow = collection_path.name in _SLOW
    return True if is_slow and "not slow" in str(config.getoption("markexpr")) else None


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


@pytest.fixture
def openai_project(azure: AzureEmulator, project: Path, real_encodings: None) -> OpenAIProject:
    """Return a project with an Azure OpenAI resource, in which tokens are counted as its models do."""
    return make_project(azure, project)
