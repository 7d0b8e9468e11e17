"""A worker process: it holds the open flow and executes the attempts that the runner sends.

    python -P -m phi3flow.runner.worker

The runner speaks on standard input and is answered on standard output; what the flow prints goes to standard error.
The process ends at once when standard input does: when the run is over, or the runner died.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from phi3flow.errors import Phi3flowError
from phi3flow.flows import FlowSession, open_flow
from phi3flow.records import ConnectionUse
from phi3flow.runner.attempt import Attempts
from phi3flow.runner.messages import (
    Attempt,
    Begin,
    ConnectionWanted,
    Opened,
    OpenFlow,
    Refused,
    encode,
    receive,
    take_messages,
)
from phi3flow.runner.secrets import public_values

_STEPS_AHEAD = 12


class _Channel:
    """The pipes to the runner, taken off standard input and output before anything of the flow runs."""

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=0)  # nothing read ahead that listen would miss
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Any:
        return receive(self._in)

    def send(self, message: object) -> None:
        rest = memoryview(encode(message))
        while rest:
            rest = rest[self._out.write(rest) :]

    async def listen(self, on_message: Callable[[Any], None]) -> None:
        """Give every message from now on to ``on_message``, in the running loop; end the process where they end."""
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":  # its event loop cannot wait for an inherited pipe

            def read() -> None:
                with contextlib.suppress(EOFError):
                    while True:
                        loop.call_soon_threadsafe(on_message, self.receive())
                os._exit(0)

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
        os._exit(0)


def main() -> None:
    """Serve one run, until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the runner decides what ends
    channel = _Channel()
    try:
        order: OpenFlow = channel.receive()
        with open_flow(order.flow, connections=channel.connection, environment=order.environment) as session:
            channel.send(Opened(connection_uses(session)))
            begin: Begin = channel.receive()
            gc.freeze()  # what is loaded stays: it is not gone through again and again for garbage
            asyncio.run(_serve(channel, Attempts(session, begin)))
    except EOFError:
        pass
    except Phi3flowError as error:
        channel.send(Refused(error))
    finally:
        sys.stderr.flush()
        os._exit(0)  # threads of tools that hang are not waited for


async def _serve(channel: _Channel, attempts: Attempts) -> None:
    waiting: asyncio.Queue[Attempt] = asyncio.Queue()
    await channel.listen(waiting.put_nowait)
    running: set[asyncio.Task[None]] = set()
    while True:
        attempt = await waiting.get()
        task = asyncio.create_task(_run(channel, attempts, attempt))
        running.add(task)
        task.add_done_callback(running.discard)
        # Lines that start together come to their requests together, and so do their answers: the processor idles,
        # then all wait for it. So each line gets some steps ahead of the next.
        for _ in range(_STEPS_AHEAD):
            await asyncio.sleep(0)


async def _run(channel: _Channel, attempts: Attempts, attempt: Attempt) -> None:
    channel.send(await attempts.run(attempt))


def connection_uses(session: FlowSession) -> dict[str, ConnectionUse]:
    """Return the connections that an open flow uses: their names and hosts."""
    uses = {}
    for name, connection in session.used_connections.items():
        url = next((value for value in public_values(connection).values() if value.startswith("http")), "")
        uses[name] = ConnectionUse(name=name, host=urlsplit(url).netloc.rpartition("@")[2] or None)
    return uses


if __name__ == "__main__":
    main()
