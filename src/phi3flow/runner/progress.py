"""Where a run stands, several times a second."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

_SPEED_OVER_S = 5.0
_LATENCIES = 512


@dataclass(frozen=True)
class RunProgress:
    """A run at one moment. ``limit`` bounds the attempts in flight; ``waits_for`` says why nothing is sent, if so.

    ``p50_ms`` and ``p95_ms`` are over the last 512 attempts; ``lines_per_s`` over the last 5 s; ``left_s`` follows
    from it.
    """

    total: int
    completed: int
    failed: int
    retries: int
    in_flight: int
    limit: int
    lines_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    left_s: float | None
    waits_for: str | None = None


class Speed:
    """Lines per second and latencies, of late."""

    def __init__(self) -> None:
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._done: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._lines = 0

    def attempt(self, latency_s: float) -> None:
        """Note how long an attempt took."""
        self._latencies.append(latency_s)

    def line(self) -> None:
        """Count a line that is done."""
        self._lines += 1

    def lines_per_s(self) -> float:
        """Return the speed over the last 5 s, or since the start."""
        now = time.monotonic()
        self._done.append((now, self._lines))
        while len(self._done) > 2 and now - self._done[1][0] >= _SPEED_OVER_S:
            self._done.popleft()
        since, lines = self._done[0]
        return (self._lines - lines) / (now - since) if now > since else 0.0

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile of the last attempts' latency."""
        ordered = sorted(self._latencies)
        return ordered[int(quantile * (len(ordered) - 1))] * 1000 if ordered else None
