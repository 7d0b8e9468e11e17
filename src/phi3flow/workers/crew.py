"""The workers of a run, seen from the runner: start them, send them attempts, hear what became of them.

A ``Process`` is what messages go to: one on this machine (``local_process``), or a Ray actor (``ray_processes``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from phi3flow.errors import FlowError, Phi3flowError
from phi3flow.flows import ConnectionSource, Flow
from phi3flow.pacing.start import Start
from phi3flow.records.connections import ConnectionUse
from phi3flow.temporary import remove_left_folders
from phi3flow.workers.messages import (
    Attempt,
    Begin,
    BeginEvaluation,
    ConnectionFound,
    ConnectionWanted,
    Ended,
    Opened,
    OpenFlow,
    Refused,
)
from phi3flow.workers.process import Death, Process, StartProcess


class Worker:
    """One worker. ``in_flight`` holds the attempts that it has, ``starts`` when it got them, by line_number."""

    def __init__(self, process: Process) -> None:
        self.in_flight: dict[int, Attempt] = {}
        self._process = process
        self.starts: dict[int, Start] = {}
        self.is_stuck = False

    async def opened(self, connections: ConnectionSource) -> Opened:
        """Wait until the flow is loaded, giving it the connections it asks for.

        Raises FlowError, or what ``connections`` raised.
        """
        while True:
            message = await self._process.receive()
            match message:
                case ConnectionWanted(name):
                    self._process.send(_connection(connections, name))
                case Opened():
                    return message
                case Refused(error):
                    raise error
                case _:
                    death = await self._process.death()
                    raise FlowError(f"the flow's process ended while it loaded the flow ({death.how})")

    def begin(self, begin: Begin | BeginEvaluation) -> None:
        """Say how attempts become inputs. Comes once, before the first attempt."""
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
            self.is_stuck = True
            self._process.kill()

    async def close(self) -> None:
        """End the process, with what it is doing."""
        await self._process.close()


class Crew:
    """The workers of a run: started, replaced where one dies, ended with the run.

    ``has_aggregation`` is known once they are opened.
    """

    def __init__(
        self, start: StartProcess, flow: Flow, environment: Mapping[str, str], connections: ConnectionSource
    ) -> None:
        self.workers: list[Worker] = []
        self.has_aggregation = False
        self._start = start
        self._order = OpenFlow(flow, dict(environment))
        self._connections = connections
        self._begin: Begin | BeginEvaluation | None = None

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.close()
        remove_left_folders()  # those that were ended had no time to

    async def start(self, workers: int) -> None:
        """Start so many processes; they load the flow while others do something else."""
        for _ in range(workers):
            await self._start_one()

    async def opened(self) -> dict[str, ConnectionUse]:
        """Wait until every worker has loaded the flow; return the connections that it uses. Raises FlowError."""
        uses: dict[str, ConnectionUse] = {}
        for worker in self.workers:
            opened = await worker.opened(self._connections)
            uses, self.has_aggregation = opened.connections, opened.has_aggregation
        return uses

    def begin(self, begin: Begin | BeginEvaluation) -> None:
        """Say how attempts become inputs. Comes once, after ``opened`` and before the first attempt."""
        self._begin = begin
        for worker in self.workers:
            worker.begin(begin)

    async def replacement(self) -> Worker:
        """Return a new worker, ready for attempts."""
        worker = await self._start_one()
        await worker.opened(self._connections)
        if self._begin is not None:
            worker.begin(self._begin)
        return worker

    async def _start_one(self) -> Worker:
        worker = Worker(await self._start(self._order))
        self.workers.append(worker)
        return worker


def _connection(connections: ConnectionSource, name: str) -> ConnectionFound | Refused:
    try:
        return ConnectionFound(dict(connections(name)))
    except Phi3flowError as error:
        return Refused(error)
