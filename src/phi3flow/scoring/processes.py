"""Processes that score beside this one, where there are many lines and the processor is all that they need."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from phi3flow.flows.evaluation import AnsweredLine
from phi3flow.project.machine import processors
from phi3flow.scoring.execution import Attempted, OpenEvaluation
from phi3flow.workers.frames import encode, receive
from phi3flow.workers.process import OWN_GROUP, kill_group

_COMMAND = (sys.executable, "-P", "-m", "phi3flow.scoring.process_main")
_LINES_EACH = 1_000  # to load a flow takes seconds, to score a line about a millisecond
_MOST_PROCESSES = 4  # as many as pf uses: an evaluation flow may hold a model in memory


class Helper:
    """A process with an evaluation flow of its own."""

    def __init__(self, order: OpenEvaluation) -> None:
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=OWN_GROUP
        )
        self._writer, self._reader = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._writer.submit(self._send, order)

    async def attempt(self, lines: Sequence[AnsweredLine]) -> list[Attempted] | None:
        """Return what becomes of each line, in their order; None where the process ended or cannot hand it over.

        It may be called again before it has returned, so that the process need not wait for more lines.
        """
        loop = asyncio.get_running_loop()
        sent = loop.run_in_executor(self._writer, self._send, lines)
        received = loop.run_in_executor(self._reader, self._receive)
        await sent
        return await received

    def close(self) -> None:
        """End the process, with what it is doing."""
        if self._process.poll() is None:
            kill_group(self._process.pid)
        for thread in (self._writer, self._reader):
            thread.shutdown()
        with contextlib.suppress(OSError), self._process:
            pass

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it ended: the reader finds out
            self._process.stdin.write(encode(message))
            self._process.stdin.flush()

    def _receive(self) -> list[Attempted] | None:
        assert self._process.stdout is not None
        try:
            return receive(self._process.stdout)  # type: ignore[no-any-return]
        except (OSError, EOFError, pickle.PickleError, AttributeError, ImportError):  # a type of the flow's own
            return None


@contextlib.contextmanager
def start_helpers(order: OpenEvaluation, lines: int) -> Iterator[list[Helper]]:
    """Start as many processes as so many lines are worth, beside this one; they load the flow meanwhile."""
    processes = min(processors(), _MOST_PROCESSES, lines // _LINES_EACH)
    with contextlib.ExitStack() as stack:
        helpers = []
        for _ in range(processes - 1):
            helpers.append(Helper(order))
            stack.callback(helpers[-1].close)
        yield helpers
