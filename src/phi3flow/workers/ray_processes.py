"""The workers of a run as actors of a Ray cluster, on as many machines as it has.

What decides and writes is the same as on one machine: the runner, in the process that was started. An actor is one
more ``Process`` to it, that may go with its machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import signal
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from phi3flow.datasets.tokens import tokenizer_file
from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.flows import Flow, flow_files
from phi3flow.flows.includes import copy_includes
from phi3flow.temporary import temporary_folder
from phi3flow.text import shorten
from phi3flow.workers.messages import Attempt, Begin, Opened, OpenFlow
from phi3flow.workers.process import Death, Process, StartProcess
from phi3flow.workers.ray_actor import FlowActor

_MOST_IN_FLIGHT = 10_000
_LEAVES_WITHIN_S = 2.0
_REACHED_WITHIN_S = 10.0
_EXIT_TYPE = re.compile(r"exit type: (\w+)")
_NODE_DIED = "its node has died"


@contextlib.contextmanager
def ray_processes(flow: Flow, workers: int) -> Iterator[StartProcess]:
    """Give what starts actors for ``flow``, each with a CPU of the cluster to itself, on as many machines as there are.

    The cluster is the one that this process is connected to, else that of RAY_ADDRESS, else one on this machine that
    ends with the run. Raises MissingExtraError, ConfigError where it cannot be reached or lacks the CPUs.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", error) from error

    with _own_stdout(), _cluster(workers):
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if workers > cpus:
            raise ConfigError(
                f"--workers {workers}: the Ray cluster has {cpus} CPUs, and each worker takes one: add machines to it, "
                "or give fewer workers"
            )
        content = ray.put(_pack(flow))
        actor = ray.remote(FlowActor).options(num_cpus=1, max_concurrency=_MOST_IN_FLIGHT, scheduling_strategy="SPREAD")

        async def start(order: OpenFlow) -> Process:
            return _RayProcess(lambda: actor.remote(content), order)

        yield start


class _RayProcess:
    """An actor, from its start to its death. One that is lost before it holds the flow is started again elsewhere."""

    def __init__(self, start: Callable[[], Any], order: OpenFlow) -> None:
        self._start = start
        self._order = order
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._calls: set[asyncio.Task[None]] = set()
        self._has_opened = False
        self._death: Death | None = None
        self._open()

    def send(self, message: object) -> None:
        if self._death is None:
            task = asyncio.create_task(self._call(message))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def receive(self) -> Any:
        return await self._messages.get()

    async def death(self) -> Death:
        assert self._death is not None
        return self._death

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        if self._death is None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._actor.leave.remote(), _LEAVES_WITHIN_S)
            self.kill()

    def _open(self) -> None:
        self._actor = self._start()
        self.send(self._order)

    async def _call(self, message: object) -> None:
        try:
            reply = await self._method(message)
        except Exception as error:  # Ray's own, or what the actor raised
            self._end(_death(error))
            return
        self._has_opened = self._has_opened or isinstance(reply, Opened)
        if reply is not None:
            self._messages.put_nowait(reply)

    def _method(self, message: object) -> Any:
        match message:
            case OpenFlow():
                return self._actor.open.remote(message)
            case Begin():
                tokenizer = tokenizer_file(message.tokenizer).read_bytes() if message.tokenizer else None
                return self._actor.begin.remote(message, tokenizer)
            case Attempt():
                return self._actor.run.remote(message)
            case _:
                return self._actor.answer.remote(message)

    def _end(self, death: Death) -> None:
        if self._death is not None:
            return
        self.kill()  # one that is out of reach may still be at work
        if death.machine_lost and not self._has_opened:
            self._open()
        else:
            self._death = death
            self._messages.put_nowait(None)


def _death(error: Exception) -> Death:
    from ray.exceptions import ActorUnavailableError

    text = str(error)
    if isinstance(error, ActorUnavailableError) or _NODE_DIED in text:
        return Death("its machine left the Ray cluster", machine_lost=True)
    exit_type = _EXIT_TYPE.search(text)
    return Death(f"in Ray: {exit_type[1]}" if exit_type else shorten(text.strip().splitlines()[-1]))


def _pack(flow: Flow) -> bytes:
    content = io.BytesIO()
    with temporary_folder() as included, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as files:
        copy_includes(flow.includes, included, with_secrets=False)
        for name in sorted({*flow_files(flow.folder), *map(Path, flow.includes)}):
            files.write(included / name if (included / name).is_file() else flow.folder / name, name.as_posix())
    return content.getvalue()


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[None]:
    """Be connected to a cluster; end the one that was started for it."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    started: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    if address not in ("local", "auto"):
        _reach(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _own_sigterm():
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **started)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"RAY_ADDRESS={address}: Ray does not start: {shorten(str(error))}") from error
    try:
        yield
    finally:
        with contextlib.redirect_stdout(io.StringIO()):  # it says again what its threads have said
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise ConfigError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_REACHED_WITHIN_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"RAY_ADDRESS={address}: there is no Ray cluster ({error}); write HOST:PORT of its head, and be on a "
            "machine of it"
        ) from error


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does: Ray would have it end the process as if by itself."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _own_stdout() -> Iterator[None]:
    """Drop what Ray's listening threads print: they do so on standard output, whatever it was told about logs."""
    before = sys.stdout
    sys.stdout = _WithoutRay(before)
    try:
        yield
    finally:
        sys.stdout = before


class _WithoutRay(io.TextIOBase):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return int(self._stream.write(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())
