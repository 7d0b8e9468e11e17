"""A worker process of this machine, behind two pipes."""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from typing import Any

from phi3flow.workers.frames import HEADER, encode
from phi3flow.workers.messages import OpenFlow
from phi3flow.workers.process import OWN_GROUP, Death, Process, kill_group

_COMMAND = (sys.executable, "-P", "-m", "phi3flow.workers.worker_main")


async def start_process(order: OpenFlow) -> Process:
    """Start a process on this machine."""
    pipe = asyncio.subprocess.PIPE
    process = _LocalProcess(
        await asyncio.create_subprocess_exec(*_COMMAND, stdin=pipe, stdout=pipe, process_group=OWN_GROUP)
    )
    process.send(order)
    return process


class _LocalProcess:
    """A process of ``phi3flow.workers.worker_main`` behind two pipes."""

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
        """End the process, and what its tools started."""
        if self._process.returncode is None:
            kill_group(self._process.pid)

    async def close(self) -> None:
        self.kill()
        await self._process.wait()
