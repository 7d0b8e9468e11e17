"""The signals that end a run: the first lets it drain, the second ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from phi3flow.errors import Interrupted

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a cancelled CI job's, a closed terminal's


class Interrupts:
    """``number`` is the signal that came, None where none did; ``on_first`` is called in the event loop then."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.on_first: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch signals, in the main thread; those that are ignored, as SIGHUP under nohup, stay so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        caught = [number for number in numbers if before[number] is not signal.SIG_IGN]
        terminals = [file for file in (1, 2) if os.isatty(file)]

        def drain(number: int, _: FrameType | None) -> None:
            self.number = number
            if number not in (signal.SIGINT, signal.SIGTERM):
                _write_to_nobody(terminals)
            for other in caught:
                signal.signal(other, _end_at_once)
            loop.call_soon_threadsafe(lambda: self.on_first())

        for number in caught:
            signal.signal(number, drain)
        try:
            yield
        finally:
            for number in caught:
                signal.signal(number, before[number])


def _write_to_nobody(files: list[int]) -> None:
    """Have what is written to a terminal that was closed, which would fail, go nowhere."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    for file in files:
        os.dup2(nobody, file)
    os.close(nobody)


def _end_at_once(number: int, _: FrameType | None) -> None:
    raise Interrupted("", number)
