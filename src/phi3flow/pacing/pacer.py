"""When one more attempt may start: what an endpoint bears is found from what it lets through and what it refuses.

Two limits are kept, because endpoints refuse for two reasons. A window bounds the attempts in flight (a server has so
many workers), and a learned rate spaces the starts (a gateway has a token bucket: a window alone oscillates against
it). Nothing here reads a clock, sleeps or draws a random number: every method is told the time, in monotonic seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque

from phi3flow.pacing.learned_rate import LearnedRate
from phi3flow.pacing.start import Start
from phi3flow.pacing.tuning import (
    BUDGET_SLACK,
    CATCH_UP_MOST_S,
    CATCH_UP_S,
    CATCH_UP_STARTS,
    ENDS_REMEMBERED,
    FAULTS_HEARD,
    FAULTS_SHARE,
    FEW_SLOTS,
    FIRST_PER_S,
    FIRST_PER_S_A_SLOT,
    MINUTE_S,
    MOST_IN_FLIGHT,
)
from phi3flow.pacing.window import Window


class Pacer:
    """Decides when one more attempt may start, so that an endpoint is kept full and hardly ever refuses.

    `concurrency` fixes the bound on attempts in flight; None finds one of at most `most_in_flight`. `rpm` and `tpm`
    are hard bounds on requests and tokens in any 60 s; `most_per_s` is a rate known not to be worth exceeding.
    """

    def __init__(
        self,
        now: float,
        *,
        concurrency: int | None = None,
        most_in_flight: int = MOST_IN_FLIGHT,
        rpm: float | None = None,
        tpm: float | None = None,
        most_per_s: float | None = None,
    ) -> None:
        self.in_flight = 0
        self._window = Window(now, most_in_flight) if concurrency is None else None
        self._fixed = concurrency or most_in_flight
        # Starts begin slowly, so that a first refusal costs little and teaches much. A small bound that was asked for
        # is reached at once where an answer takes 100 ms.
        few = concurrency is not None and concurrency <= FEW_SLOTS
        self._first_per_s = FIRST_PER_S_A_SLOT * concurrency if concurrency and few else FIRST_PER_S
        self._learned = LearnedRate(now, self._first_per_s)
        self._requests = _MinuteBudget(rpm) if rpm else None
        self._tokens = _MinuteBudget(tpm) if tpm else None
        self._tokens_sum, self._tokens_reports = 0.0, 0
        self._most_per_s = most_per_s or math.inf
        self._next_s = now
        self._paused_s = now
        self._refused: deque[bool] = deque(maxlen=ENDS_REMEMBERED)

    @property
    def limit(self) -> int:
        """The most attempts that may be in flight now."""
        return self._window.limit if self._window else self._fixed

    @property
    def rate(self) -> float | None:
        """The attempts a second that the endpoint was found to bear; None as long as it never refused."""
        return self._learned.per_s

    def wait_s(self, now: float) -> float | None:
        """Say how long to wait before one more attempt: 0.0 is not at all, None until an attempt has ended."""
        if self.in_flight >= self.limit or (self._tokens and not self._tokens_reports and self.in_flight):
            return None  # the first attempt under `tpm` goes alone: nothing is known yet of what one costs
        waits = [self._paused_s - now, self._next_s - now]
        if self._requests:
            waits.append(self._requests.wait_s(now, 1.0))
        if self._tokens:
            waits.append(self._tokens.wait_s(now, self._tokens_mean))
        return max(0.0, *waits)

    def start(self, now: float) -> Start:
        """Take note that an attempt starts; `wait_s` had allowed it."""
        start = Start(now, self.in_flight, now)
        self.in_flight += 1
        if self._window:
            self._window.start(self.in_flight)
        self._learned.start(now)
        gap_s = 1 / min(self._bound_per_s(now), self._most_per_s)
        if self._requests:
            self._requests.spend(now, 1.0)
            gap_s = max(gap_s, MINUTE_S / self._requests.most)
        if self._tokens:
            self._tokens.spend(now, self._tokens_mean)
            gap_s = max(gap_s, MINUTE_S * self._tokens_mean / self._tokens.most)
        # Starts are due on a schedule of their own, so that a caller who comes late catches up; by this much, or else
        # idle time would be saved up for a burst.
        catch_up_s = min(max(CATCH_UP_S, CATCH_UP_STARTS * gap_s), CATCH_UP_MOST_S)
        self._next_s = max(self._next_s, now - catch_up_s) + gap_s
        return start

    def send(self, start: Start, sent_s: float) -> None:
        """Take note when an attempt was sent, if it is known."""
        start.sent_s = max(start.at_s, sent_s)
        self._learned.send(start)

    def succeed(self, now: float, start: Start, *, tokens: int = 0) -> None:
        """Take note that an attempt was answered, and that it cost `tokens`."""
        self._refused.append(False)
        self._learned.succeed(now, start)
        if self._window:
            self._window.succeed(now, now - start.at_s, self.in_flight)
        if self._tokens:
            self._tokens.correct(start.at_s, tokens)
            self._tokens_sum += tokens
            self._tokens_reports += 1
        self.in_flight -= 1

    def refuse(self, now: float, start: Start, *, retry_after_s: float | None = None, explicit: bool = True) -> None:
        """Take note that an attempt was refused for load; where not `explicit`, it may have been a random fault.

        TCP's answer to random loss would be a window of sqrt(3/2p), 5 at p = 5 % (Mathis et al. 1997); so faults
        count only where they are a fifth of what comes back.
        """
        self._refused.append(True)
        if retry_after_s:
            self.pause(now, for_s=retry_after_s)
        if explicit or (len(self._refused) >= FAULTS_HEARD and sum(self._refused) >= FAULTS_SHARE * len(self._refused)):
            self._slow_down(now, start, says_when=bool(retry_after_s))
        else:
            self._learned.forget(start)
        self._end_unpaid(start)

    def fail(self, start: Start) -> None:
        """Take note that an attempt ended otherwise, which says nothing about load."""
        self._learned.send(start)
        self._end_unpaid(start)

    def pause(self, now: float, *, for_s: float) -> None:
        """Let nothing start for `for_s` seconds."""
        self._paused_s = max(self._paused_s, now + for_s)

    def paused_s(self, now: float) -> float:
        """Return for how long nothing may start because the endpoint, or the caller, said so."""
        return max(0.0, self._paused_s - now)

    @property
    def _tokens_mean(self) -> float:
        return self._tokens_sum / max(1, self._tokens_reports)

    def _end_unpaid(self, start: Start) -> None:
        if self._tokens:
            self._tokens.correct(start.at_s, 0.0)
        self.in_flight -= 1

    def _bound_per_s(self, now: float) -> float:
        if self._window and self._window.is_known:
            return math.inf
        bound = self._learned.bound_per_s(now)
        if self._window and self._learned.per_s:
            self._window.allow(bound)
        return bound

    def _slow_down(self, now: float, start: Start, *, says_when: bool) -> None:
        news = self._learned.refuse(now, start, max(now, self._paused_s))
        if news and self._window:
            self._window.refuse(now, start.beside, says_when=says_when, by_rate=self._learned.is_sure)


class _MinuteBudget:
    """Keeps what is spent in any 60 s below a bound: a bucket of the same rate would allow its burst on top."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._starts_s: list[float] = []
        self._costs: list[float] = []
        self._spent = 0.0

    def wait_s(self, now: float, cost: float) -> float:
        old = bisect_right(self._starts_s, now - MINUTE_S)
        self._spent -= sum(self._costs[:old])
        del self._starts_s[:old], self._costs[:old]
        over, gone = self._spent + cost - self.most, 0
        while over > BUDGET_SLACK and gone < len(self._costs):
            over -= self._costs[gone]
            gone += 1
        return self._starts_s[gone - 1] + MINUTE_S - now if gone else 0.0

    def spend(self, now: float, cost: float) -> None:
        self._starts_s.append(now)
        self._costs.append(cost)
        self._spent += cost

    def correct(self, start_s: float, cost: float) -> None:
        index = bisect_left(self._starts_s, start_s)
        if self._starts_s[index : index + 1] == [start_s]:
            self._spent += cost - self._costs[index]
            self._costs[index] = cost
