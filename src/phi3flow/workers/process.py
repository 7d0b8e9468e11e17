"""What a run knows of a process that executes attempts, wherever it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from phi3flow.workers.messages import OpenFlow

_LOOKS_EVERY_S = 0.5

OWN_GROUP = 0 if os.name == "posix" else -1
"""The process group of what is started here: a terminal's Ctrl-C reaches the runner alone, which decides what ends."""


def kill_group(leader: int) -> None:
    """End a process that was started in its own group, and what its tools started."""
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(leader, signal.SIGKILL)
        else:
            os.kill(leader, signal.SIGTERM)


def end_with_parent() -> None:
    """Have this process, which leads a group of its own, end with that group once its parent has ended.

    A pipe that closes would say so, but not to a tool that blocks the loop which reads it.
    """
    if os.name == "posix":
        threading.Thread(target=_end_after, args=(os.getppid(),), name="parent", daemon=True).start()


def end_with_group() -> NoReturn:
    """End this process, and what its tools started, where it leads a group of its own."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        kill_group(os.getpid())
    os._exit(0)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOKS_EVERY_S)
    end_with_group()


@dataclass(frozen=True)
class Death:
    """How a process ended: ``how`` in a few words, ``machine_lost`` where that says nothing about the flow."""

    how: str
    machine_lost: bool = False


class Process(Protocol):
    """A process that holds the flow and executes attempts. It speaks in ``messages``, and may end at any moment."""

    def send(self, message: object) -> None:
        """Send a message; nothing happens where the process has ended."""

    async def receive(self) -> Any:
        """Return the next message, None once the process has ended."""

    async def death(self) -> Death:
        """Return how it ended, once it has."""

    def kill(self) -> None:
        """End it now."""

    async def close(self) -> None:
        """End it, with what it is doing, and wait until it has."""


StartProcess = Callable[[OpenFlow], Awaitable[Process]]
"""Starts a process that loads a flow; it does so while others do something else."""
