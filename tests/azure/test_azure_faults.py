"""Every write meets a throttle, an error or a broken connection once, and the verbs end right all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.disturbances import Once, fail, reset, throttle
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import JOURNEY
from tests.azure.snapshots import snapshot
from tests.support.command_line import phi3flow

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"


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


def travel(folder: Path, disturb: Callable[[AzureEmulator], None]) -> dict[str, list[str]]:
    """Give the verbs that change something in an Azure that is disturbed; return what there is after each."""
    after = JOURNEY.travel(folder, [*CHANGING, "azure down"], lambda azure, _: snapshot(azure), disturb=disturb)
    (left,) = after["azure down"]
    assert f'/{GROUP.rpartition("/")[2]}"' in left
    return after


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the verbs leave where nothing disturbs them."""
    return travel(tmp_path_factory.mktemp("whole"), lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [throttle, fail, reset])
def test_each_write_of_every_verb_may_fail_once(
    tmp_path: Path, fault: Callable[[Request], Reply], whole: dict[str, list[str]]
) -> None:
    def disturb(azure: AzureEmulator) -> None:
        azure.fault = Once(fault)

    assert travel(tmp_path, disturb) == whole


@pytest.mark.slow
def test_each_answer_to_a_write_of_every_verb_may_be_lost(tmp_path: Path, whole: dict[str, list[str]]) -> None:
    def disturb(azure: AzureEmulator) -> None:
        azure.after_write = Once(reset)  # type: ignore[assignment]

    assert travel(tmp_path, disturb) == whole
