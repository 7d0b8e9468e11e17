"""What the outcomes of attempts say about the endpoint: to the pace, of an outage, and of when to try again."""

from __future__ import annotations

import random

from phi3flow.errors import EndpointError
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.outage import Outage
from phi3flow.pacing.pace import Pace
from phi3flow.pacing.start import Start
from phi3flow.pacing.tuning import FIRST_ANSWER_S, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, RETRIES_BEYOND_ITEMS


class EndpointHealth:
    """Hears how every attempt ended; ``error`` is set once the endpoint stays down.

    ``items`` may be attempted, and each may have ``limits.max_retries`` retries; together as many as there are items,
    and 100, so that a broken endpoint cannot multiply the bill.
    """

    def __init__(self, pace: Pace, limits: Limits, items: int) -> None:
        self.error: EndpointError | None = None
        self._pace = pace
        self._limits = limits
        self._outage = Outage()
        self._answered = False
        self._retries_left = items + RETRIES_BEYOND_ITEMS

    @property
    def is_down(self) -> bool:
        """Whether nothing should be sent while anything is in flight."""
        return self._outage.is_open

    def succeed(self, now: float, start: Start, *, tokens: int) -> None:
        """Take note of an answer that cost ``tokens``."""
        self._pace.succeed(now, start, tokens=tokens)
        self._outage.succeed()
        self._answered = True

    def fail(self, now: float, start: Start, failure: Failure, *, is_last: bool) -> bool:
        """Take note of a failure; say whether the endpoint is down, so that the attempt does not count.

        ``is_last``: no item is left that was never attempted. An item that is always answered by 500, or never in time,
        is one of the last to be left: from then on its failures in a row are its own.
        """
        down = self._may_be_down(failure, is_last) and self._is_down(now, failure)
        retry_after_s = failure.retry_after_s
        if not down and failure.retryable and (failure.status_code in (424, 429, 503) or retry_after_s is not None):
            explicit = failure.status_code == 429 or retry_after_s is not None
            self._pace.refuse(now, start, retry_after_s=retry_after_s, explicit=explicit)
        else:
            self._pace.fail(start)
            self._pace.pause(now, for_s=retry_after_s or 0.0)
        if retry_after_s is not None and retry_after_s > self._limits.outage_s:
            self._give_up(f"the endpoint asks to come back in {retry_after_s:.0f} s ({failure.message})")
        return down

    def has_retry(self, attempts: int) -> bool:
        """Whether an item that was attempted so often may be attempted again."""
        return attempts <= self._limits.max_retries and self._retries_left > 0

    def retry(self) -> None:
        """Take note that an item is attempted again."""
        self._retries_left -= 1

    def _may_be_down(self, failure: Failure, is_last: bool) -> bool:
        unreachable = failure.status_code in (502, 503, 504) or (failure.status_code is None and not failure.timed_out)
        may_be = failure.retryable and failure.status_code != 429 and (unreachable or not is_last or not self._answered)
        if not may_be:
            self._outage.succeed()
        return may_be

    def _is_down(self, now: float, failure: Failure) -> bool:
        pause_s = self._outage.fail(now)
        if pause_s is not None:
            self._pace.pause(now, for_s=pause_s)
        since = self._outage.since
        patience_s = self._limits.outage_s if self._answered else min(self._limits.outage_s, FIRST_ANSWER_S)
        if since is not None and now - since > patience_s:
            self._give_up(f"the endpoint has not answered for {now - since:.0f} s ({failure.message})")
        return since is not None

    def _give_up(self, reason: str) -> None:
        self.error = self.error or EndpointError(
            f"{reason}; what was done is kept: give the same command again once it answers"
        )


def backoff_s(failure: Failure, attempts: int) -> float:
    """The server's Retry-After, else exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return random.uniform(0.0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (attempts - 1)))
