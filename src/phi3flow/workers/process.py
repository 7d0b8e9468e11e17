"""What a run knows of a process that executes attempts, wherever it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from phi3flow.workers.messages import OpenFlow


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
