"""Every write meets a throttle, an error or a broken connection once, and the verbs end right all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import STEPS, answer_rightly, make_project, take_step
from tests.azure.snapshots import snapshot
from tests.support.command_line import phi3flow

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"


def throttle(request: Request) -> Reply:
    """Refuse with 429 for a moment."""
    error = {"code": "TooManyRequests", "message": "The request was throttled."}
    return Reply(429, {"error": error}, {"Retry-After": "1"})


def fail(request: Request) -> Reply:
    """Fail with 500."""
    return Reply(500, {"error": {"code": "InternalServerError", "message": "Encountered an internal server error."}})


def reset(request: Request) -> Reply:
    """Break the connection before anything is done."""
    raise ConnectionReset


class Once:
    """A fault for the first of each write."""

    def __init__(self, fault: Callable[[Request], Reply | None]) -> None:
        self._fault = fault
        self.seen: list[str] = []

    def __call__(self, request: Request) -> Reply | None:
        if not request.is_write or str(request) in self.seen:
            return None
        self.seen.append(str(request))
        return self._fault(request)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an up that meets no fault leaves."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        assert phi3flow("azure", "up", "--yes", cwd=tmp_path_factory.mktemp("project")).returncode == 0
        return snapshot(emulator)


@pytest.mark.parametrize(
    "fault", [pytest.param(throttle, marks=pytest.mark.slow), pytest.param(fail, marks=pytest.mark.slow), reset]
)
def test_each_write_may_fail_once(
    azure: AzureEmulator, project: Path, fault: Callable[[Request], Reply], undisturbed: list[str]
) -> None:
    azure.fault = once = Once(fault)
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert snapshot(azure) == undisturbed
    assert len(once.seen) == 27
    done = phi3flow("azure", "down", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert [each["id"] for each in azure.resources] == [GROUP]
    assert len(once.seen) == 27 + 14


def test_each_answer_to_a_write_may_be_lost(azure: AzureEmulator, project: Path, undisturbed: list[str]) -> None:
    """Azure carried the write out, and the connection broke before it could say so."""
    azure.after_write = once = Once(reset)  # type: ignore[assignment]
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert snapshot(azure) == undisturbed
    done = phi3flow("azure", "down", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert [each["id"] for each in azure.resources] == [GROUP]
    assert len(once.seen) == 27 + 14


CHANGING = ("azure up", "prepare-data", "fine-tune", "register", "deploy base", "deploy", "connect", "undeploy")


def travel(folder: Path, disturb: Callable[[AzureEmulator], None]) -> list[str]:
    """Give the verbs that change something in an Azure that is disturbed; return what is left before `azure down`."""
    with AzureEmulator(folder) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        azure.answer_chat = answer_rightly
        project = folder / "project"
        project.mkdir()
        make_project(project)
        disturb(azure)
        for verb in CHANGING:
            take_step(azure, project, verb)
        left = snapshot(azure)
        assert phi3flow(*STEPS["azure down"], cwd=project).returncode == 0
        assert [each["id"] for each in azure.resources] == [GROUP]
        return left


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the verbs leave where nothing disturbs them."""
    return travel(tmp_path_factory.mktemp("whole"), lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [throttle, fail, reset])
def test_each_write_of_every_verb_may_fail_once(
    tmp_path: Path, fault: Callable[[Request], Reply], whole: list[str]
) -> None:
    def disturb(azure: AzureEmulator) -> None:
        azure.fault = Once(fault)

    assert travel(tmp_path, disturb) == whole


@pytest.mark.slow
def test_each_answer_to_a_write_of_every_verb_may_be_lost(tmp_path: Path, whole: list[str]) -> None:
    def disturb(azure: AzureEmulator) -> None:
        azure.after_write = Once(reset)  # type: ignore[assignment]

    assert travel(tmp_path, disturb) == whole
