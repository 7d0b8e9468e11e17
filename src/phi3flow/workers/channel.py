"""The pipes of a worker process to the one that started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from phi3flow.workers.frames import encode, receive, take_messages
from phi3flow.workers.messages import ConnectionWanted, Refused
from phi3flow.workers.process import end_with_group


class Channel:
    """The pipes to the runner, taken off standard input and output before anything of the flow runs."""

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=0)  # nothing read ahead that listen would miss
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Any:
        """Wait for a message. Raises EOFError where no more will come."""
        return receive(self._in)

    def send(self, message: object) -> None:
        """Send a message, whole."""
        unsent = memoryview(encode(message))
        while unsent:
            unsent = unsent[self._out.write(unsent) :]

    async def listen(self, on_message: Callable[[Any], None]) -> None:
        """Give every message from now on to ``on_message``, in the running loop; end the process where they end."""
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":  # its event loop cannot wait for an inherited pipe

            def read() -> None:
                with contextlib.suppress(EOFError):
                    while True:
                        loop.call_soon_threadsafe(on_message, self.receive())
                end_with_group()

            threading.Thread(target=read, name="runner", daemon=True).start()
        else:
            await loop.connect_read_pipe(lambda: _Messages(on_message), self._in)

    def connection(self, name: str) -> Mapping[str, Any]:
        """Ask the runner for a connection. Raises its error where it has none."""
        self.send(ConnectionWanted(name))
        answer = self.receive()
        if isinstance(answer, Refused):
            raise answer.error
        return answer.definition  # type: ignore[no-any-return]


class _Messages(asyncio.Protocol):
    """Cuts what comes over a pipe into messages."""

    def __init__(self, on_message: Callable[[Any], None]) -> None:
        self._on_message = on_message
        self._content = bytearray()

    def data_received(self, data: bytes) -> None:
        self._content += data
        for message in take_messages(self._content):
            self._on_message(message)

    def connection_lost(self, error: Exception | None) -> None:
        end_with_group()
