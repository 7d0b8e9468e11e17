"""The circuit breaker of a run (Nygard, Release It!, 2007): an endpoint that is down is waited for, no line burnt."""

from __future__ import annotations

from phi3flow.pacing.tuning import FAILURES_OF_AN_OUTAGE, FIRST_PAUSE_S, LONGEST_PAUSE_S


class Outage:
    """Counts attempts that failed in a row, for reasons of the endpoint, and says how long to leave it alone.

    Open after 20 in a row: then one attempt is made after each pause (1 s, doubling up to 30 s), and none of them
    counts against its line. The first success closes it. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._row = 0
        self._first_failure = 0.0
        self._pause_s = 0.0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is taken to be down."""
        return self.since is not None

    def succeed(self) -> None:
        """An attempt got through."""
        self._row = 0
        self.since = None

    def fail(self, now: float) -> float | None:
        """An attempt failed for reasons of the endpoint; return the seconds to pause, None to go on."""
        if self._row == 0:
            self._first_failure = now
        self._row += 1
        if self._row < FAILURES_OF_AN_OUTAGE:
            return None
        if self.since is None:
            self.since, self._pause_s = self._first_failure, FIRST_PAUSE_S
        elif now < self._until:
            return None  # it was in flight when the pause began
        else:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._until = now + self._pause_s
        return self._pause_s
