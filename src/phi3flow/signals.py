"""The signals that end a command: Ctrl-C, and those that a cancelled CI job and a closed terminal send."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from phi3flow.errors import Interrupted

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


def end_as_by_ctrl_c() -> None:
    """Have every signal that ends a command do it as Ctrl-C does, so that nothing is left behind."""
    interrupt = _heard(_interrupt)
    for number in _heeded():
        if number != signal.SIGINT:
            signal.signal(number, interrupt)


@contextlib.contextmanager
def caught_signals(on_first: Callable[[int], None]) -> Iterator[None]:
    """Call ``on_first`` with the first signal; a second one ends the command at once. In the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _heeded()}
    interrupt = _heard(_interrupt)

    def catch(number: int) -> None:
        for other in before:
            signal.signal(other, interrupt)
        on_first(number)

    for number in before:
        signal.signal(number, _heard(catch))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    """Return the signals that are not ignored, as SIGHUP is under nohup."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int) -> None:
    raise Interrupted("", number)


def _heard(act: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    """Return a handler that first has what is written to a closed terminal, which would fail, go nowhere."""
    terminals = [file for file in (1, 2) if os.isatty(file)]  # one that was closed is none any more

    def handle(number: int, _: FrameType | None) -> None:
        if terminals and number not in (signal.SIGINT, signal.SIGTERM):
            nobody = os.open(os.devnull, os.O_WRONLY)
            for file in terminals:
                os.dup2(nobody, file)
            os.close(nobody)
        act(number)

    return handle
