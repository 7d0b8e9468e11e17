"""How many attempts an endpoint takes at a time, where its refusals show it."""

from __future__ import annotations

import math

from phi3flow.pacing.tuning import MORE_AFTER, SAME_NUMBER, SAME_OVERLOAD_S, STRIKES


class Slots:
    """Two refusals at the same number in flight show a limit on it, until refusals go on below that number.

    A token bucket refuses at whatever number is in flight when it is empty.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self._refused_at: int | None = None
        self._refused_s = -math.inf
        self._strikes = 0
        self._answered = 0

    def succeed(self) -> None:
        self._answered += 1
        if self.most is not None and self._answered >= MORE_AFTER * self.most:
            self._answered, self._strikes = 0, max(0, self._strikes - 1)
            self.most += 1

    def refuse(self, now: float, in_flight: int, *, by_rate: bool) -> None:
        """Learn from a refusal that came while so many others were in flight; maybe a limit ``by_rate`` explains it."""
        if self._strikes == STRIKES or (self.most is None and now - self._refused_s < SAME_OVERLOAD_S):
            return
        self._refused_s = now
        if self.most is not None:
            self._strikes, self._answered = self._strikes + 1, 0
            self.most = max(1, min(self.most, in_flight)) if self._strikes < STRIKES else None
        elif self._refused_at and not by_rate and self._is_same(in_flight):
            self.most = min(in_flight, self._refused_at)
        self._refused_at = in_flight

    def _is_same(self, in_flight: int) -> bool:
        assert self._refused_at is not None
        return in_flight > 1 and abs(in_flight - self._refused_at) <= max(1, SAME_NUMBER * in_flight)
