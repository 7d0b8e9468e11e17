"""The server's process: load, serve, and end without dropping what is in flight."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from phi3flow.errors import MissingExtraError
from phi3flow.serving import STOPPED

try:
    import uvicorn

    from phi3flow.serving.endpoint import Endpoint
except ImportError as missing:
    raise MissingExtraError("local", missing) from missing

from phi3flow.serving.listening import url_of
from phi3flow.serving.loading import load_model

DRAIN_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection: one that the server closes first is a reset for its next request."""


def serve(
    model: Path, *, name: str, key: str, listener: socket.socket, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve a model folder on a bound socket until SIGTERM or SIGINT; ``on_ready`` gets the URL once it answers.

    The first signal lets the requests in flight finish, for at most 30 s, while new ones get 503; a second one ends
    at once. Raises ConfigError for what is not a model.
    """
    with listener:
        endpoint = Endpoint(load_model(model), name=name, key=key)
        _Server(endpoint, on_started=lambda: on_ready(url_of(listener))).run([listener])
        sys.stderr.write(f"{STOPPED}\n")


class _Server(uvicorn.Server):
    """uvicorn, which drains before it closes its doors, and whose end by a signal is a success."""

    def __init__(self, endpoint: Endpoint, *, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                endpoint,
                access_log=False,
                log_level="warning",
                server_header=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=5,
            )
        )
        self._endpoint = endpoint
        self._on_started = on_started
        self._deadline_s = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the doors and say so."""
        await super().startup(sockets)
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self._endpoint.draining:
            self.should_exit = self.force_exit = True
        self._endpoint.draining = True
        self._deadline_s = time.monotonic() + DRAIN_TIMEOUT_S

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end, asked ten times a second."""
        drained = self._endpoint.draining and self._endpoint.in_flight == 0
        if not (drained or self.should_exit or time.monotonic() > self._deadline_s):
            return await super().on_tick(counter)
        self._endpoint.close()
        return True
