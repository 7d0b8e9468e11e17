"""What says when an attempt may start: a ``Pacer`` for an endpoint, ``Unpaced`` for what only the processor bounds.

Every method is told the time, in monotonic seconds.
"""

from __future__ import annotations

from typing import Protocol

from phi3flow.pacing.start import Start


class Pace(Protocol):
    """Says when one more attempt may start, from how earlier ones ended."""

    @property
    def in_flight(self) -> int:
        """The attempts that have started and not ended."""

    @property
    def limit(self) -> int:
        """The most attempts that may be in flight now."""

    def wait_s(self, now: float) -> float | None:
        """Say how long to wait before one more attempt: 0.0 is not at all, None until an attempt has ended."""

    def start(self, now: float) -> Start:
        """Take note that an attempt starts; ``wait_s`` had allowed it."""

    def send(self, start: Start, sent_s: float) -> None:
        """Take note when an attempt was sent, if it is known."""

    def succeed(self, now: float, start: Start, *, tokens: int = 0) -> None:
        """Take note that an attempt was answered, and that it cost ``tokens``."""

    def refuse(self, now: float, start: Start, *, retry_after_s: float | None = None, explicit: bool = True) -> None:
        """Take note that an attempt was refused for load; where not ``explicit``, it may have been a random fault."""

    def fail(self, start: Start) -> None:
        """Take note that an attempt ended otherwise, which says nothing about load."""

    def pause(self, now: float, *, for_s: float) -> None:
        """Let nothing start for ``for_s`` seconds."""

    def paused_s(self, now: float) -> float:
        """Return for how long nothing may start because the endpoint, or the caller, said so."""


class Unpaced:
    """``limit`` attempts in flight, each started as soon as there is room: what asks no endpoint needs no more."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0

    def wait_s(self, now: float) -> float | None:
        """See Pace."""
        return None if self.in_flight >= self.limit else 0.0

    def start(self, now: float) -> Start:
        """See Pace."""
        start = Start(now, self.in_flight, now)
        self.in_flight += 1
        return start

    def send(self, start: Start, sent_s: float) -> None:
        """See Pace."""

    def succeed(self, now: float, start: Start, *, tokens: int = 0) -> None:
        """See Pace."""
        self.in_flight -= 1

    def refuse(self, now: float, start: Start, *, retry_after_s: float | None = None, explicit: bool = True) -> None:
        """See Pace."""
        self.in_flight -= 1

    def fail(self, start: Start) -> None:
        """See Pace."""
        self.in_flight -= 1

    def pause(self, now: float, *, for_s: float) -> None:
        """See Pace: nothing here can ask for time."""

    def paused_s(self, now: float) -> float:
        """See Pace."""
        return 0.0
