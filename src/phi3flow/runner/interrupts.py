"""The signals that end a run: the first lets it drain, the second ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from phi3flow.signals import caught_signals


class Interrupts:
    """``number`` is the signal that came, None where none did; ``on_first`` is called in the event loop then."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.on_first: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch signals, in the main thread."""
        loop = asyncio.get_running_loop()

        def drain(number: int) -> None:
            self.number = number
            loop.call_soon_threadsafe(lambda: self.on_first())

        with caught_signals(drain):
            yield
