"""The workers of a run, seen from the runner: start them, send them attempts, hear what became of them.

A ``Process`` is what messages go to: one on this machine (``start_process``), or a Ray actor (``ray_workers``).
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from phi3flow.errors import FlowError, Phi3flowError
from phi3flow.flows import ConnectionSource, Flow
from phi3flow.records import ConnectionUse
from phi3flow.runner.messages import (
    HEADER,
    Attempt,
    Begin,
    Connection,
    ConnectionWanted,
    Ended,
    Opened,
    OpenFlow,
    Refused,
    encode,
)
from phi3flow.runner.secrets import public_values
from phi3flow.runner.start import Start

_COMMAND = (sys.executable, "-P", "-m", "phi3flow.runner.worker")


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


async def start_process(order: OpenFlow) -> Process:
    """Start a process on this machine."""
    process = _LocalProcess(
        await asyncio.create_subprocess_exec(*_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    )
    process.send(order)
    return process


class _LocalProcess:
    """A process of ``phi3flow.runner.worker`` behind two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def send(self, message: object) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(encode(message))

    async def receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            (size,) = HEADER.unpack(await self._process.stdout.readexactly(HEADER.size))
            return pickle.loads(await self._process.stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def death(self) -> Death:
        code = await self._process.wait()
        return Death(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")

    def kill(self) -> None:
        self._process.kill()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Worker:
    """One worker. ``in_flight`` holds the attempts that it has, ``starts`` when it got them, by line_number."""

    def __init__(self, process: Process) -> None:
        self.in_flight: dict[int, Attempt] = {}
        self._process = process
        self.starts: dict[int, Start] = {}

    async def opened(self, connections: ConnectionSource) -> dict[str, ConnectionUse]:
        """Wait until the flow is loaded, giving it the connections it asks for; return those that it uses.

        Raises FlowError, or what ``connections`` raised.
        """
        while True:
            message = await self._process.receive()
            match message:
                case ConnectionWanted(name):
                    self._process.send(_connection(connections, name))
                case Opened(uses):
                    return uses
                case Refused(error):
                    raise error
                case _:
                    death = await self._process.death()
                    raise FlowError(f"the flow's process ended while it loaded the flow ({death.how})")

    def begin(self, begin: Begin) -> None:
        """Say how rows become inputs. Comes once, before the first attempt."""
        self._process.send(begin)

    def submit(self, attempt: Attempt, start: Start) -> None:
        """Execute an attempt now."""
        self.in_flight[attempt.number] = attempt
        self.starts[attempt.number] = start
        self._process.send(attempt)

    async def listen(
        self, on_sent: Callable[[Start, float], None], on_ended: Callable[[Attempt, Ended, Start], None]
    ) -> Death:
        """Report when each attempt was sent, and what became of it, until the process ends; return how it did."""
        while isinstance(message := await self._process.receive(), Ended):
            now = time.monotonic()
            for number, ago_s in message.begun:
                if number in self.starts:  # Ray's messages may overtake each other
                    on_sent(self.starts[number], now - ago_s)
            on_ended(self.in_flight.pop(message.number), message, self.starts.pop(message.number))
        return await self._process.death()

    def kill_if_stuck(self, after_s: float) -> None:
        """End the process where an attempt has taken longer: its own time-out did not come, so its loop is blocked."""
        if self.starts and time.monotonic() - min(start.at_s for start in self.starts.values()) > after_s:
            self._process.kill()

    async def close(self) -> None:
        """End the process, with what it is doing."""
        await self._process.close()


class Crew:
    """The workers of a run: started, replaced where one dies, ended with the run.

    ``public_connections`` has the values of each connection that the flow asked for, without the secret ones.
    """

    def __init__(
        self, start: StartProcess, flow: Flow, environment: Mapping[str, str], connections: ConnectionSource
    ) -> None:
        self.workers: list[Worker] = []
        self.public_connections: dict[str, dict[str, Any]] = {}
        self._start = start
        self._order = OpenFlow(flow, dict(environment))
        self._connections = connections
        self._begin: Begin | None = None

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.close()

    async def start(self, workers: int) -> None:
        """Start so many processes; they load the flow while others do something else."""
        for _ in range(workers):
            await self._start_one()

    async def begin(self, begin: Begin) -> dict[str, ConnectionUse]:
        """Wait until every worker has loaded the flow; return the connections that it uses. Raises FlowError."""
        self._begin = begin
        uses: dict[str, ConnectionUse] = {}
        for worker in self.workers:
            uses = await self._open(worker, begin)
        return uses

    async def replacement(self) -> Worker:
        """Return a new worker, ready for attempts."""
        assert self._begin is not None
        worker = await self._start_one()
        await self._open(worker, self._begin)
        return worker

    async def _start_one(self) -> Worker:
        worker = Worker(await self._start(self._order))
        self.workers.append(worker)
        return worker

    async def _open(self, worker: Worker, begin: Begin) -> dict[str, ConnectionUse]:
        uses = await worker.opened(self._find_connection)
        worker.begin(begin)
        return uses

    def _find_connection(self, name: str) -> Mapping[str, Any]:
        connection = self._connections(name)
        self.public_connections[name] = public_values(connection)
        return connection


def _connection(connections: ConnectionSource, name: str) -> Connection | Refused:
    try:
        return Connection(dict(connections(name)))
    except Phi3flowError as error:
        return Refused(error)
