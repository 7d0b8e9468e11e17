"""Requests of the serverless backend meet a throttle, an error or a broken connection once, and all ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.disturbances import Fault, Once, fail, reset, throttle
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.serverless_journey import JOURNEY, leftovers

pytestmark = pytest.mark.slow

VERBS = ("fine-tune", "register", "deploy base", "deploy", "status", "connect", "undeploy base", "undeploy")
EVERY = 4
"""One read in so many is disturbed, since each waits for its repetition."""


class OnceRead:
    """A fault for the first of every fourth read."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.seen: dict[str, None] = {}

    def __call__(self, request: Request) -> Reply | None:
        if request.is_write or str(request) in self.seen or request.host.startswith("login."):
            return None
        self.seen[str(request)] = None
        return self._fault(request) if len(self.seen) % EVERY == 0 else None


def travel(folder: Path, disturb: Callable[[AzureEmulator], None]) -> dict[str, list[str]]:
    """Give the verbs in an Azure that is disturbed once its foundation is there; return what is left after each."""
    return JOURNEY.travel(folder, VERBS, leftovers, before=["azure up", "prepare-data"], disturb=disturb)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the verbs leave where nothing disturbs them."""
    return travel(tmp_path_factory.mktemp("whole"), lambda _: None)


@pytest.mark.parametrize("fault", [throttle, fail, reset])
def test_each_write_may_fail_once(tmp_path: Path, fault: Fault, whole: dict[str, list[str]]) -> None:
    once = Once(fault)
    assert travel(tmp_path, lambda azure: setattr(azure, "fault", once)) == whole
    assert len([request for request in once.seen if "/serverlessEndpoints/" in request]) == 4


def test_each_answer_to_a_write_may_be_lost(tmp_path: Path, whole: dict[str, list[str]]) -> None:
    """Azure carried the write out, and the connection broke before it could say so."""
    once = Once(reset)
    assert travel(tmp_path, lambda azure: setattr(azure, "after_write", once)) == whole
    assert len([request for request in once.seen if "/serverlessEndpoints/" in request]) == 4


@pytest.mark.parametrize("fault", [throttle, fail, reset])
def test_reads_may_fail_once(tmp_path: Path, fault: Fault, whole: dict[str, list[str]]) -> None:
    once = OnceRead(fault)
    assert travel(tmp_path, lambda azure: setattr(azure, "fault", once)) == whole
    assert len(once.seen) > 6 * EVERY
