"""What may happen to a verb on its way: a write that is throttled, fails or breaks, and a kill after any of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.proxy import ConnectionReset

Fault = Callable[[Request], Reply | None]


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
    """A fault for the first of each write; of uploads, which have one address, the first of each length."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.seen: list[str] = []

    def __call__(self, request: Request) -> Reply | None:
        name = f"{request} {len(request.body)}" if request.path.endswith("/files") else str(request)
        if not request.is_write or name in self.seen:
            return None
        self.seen.append(name)
        return self._fault(request)


class Killer:
    """Ends a process at once when Azure has carried out its n-th write, before the answer goes out."""

    def __init__(self, write: int) -> None:
        self._left = write
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, request: Request) -> None:
        self._left -= 1
        if self._left == 0 and self.process:
            os.kill(self.process.pid, signal.SIGKILL)


def give_killed(azure: AzureEmulator, project: Path, words: Sequence[str], write: int) -> None:
    """Give a verb as a process of its own, and kill it after a write."""
    azure.after_write = killer = Killer(write)
    command = [sys.executable, "-m", "phi3flow.cli.main", *words]
    killer.process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = killer.process.communicate()[1]
    azure.after_write = lambda _: None
    assert killer.process.returncode == -signal.SIGKILL, f"{words} was not killed at write {write}: {said}"
