"""How many attempts a second an endpoint bears, learned from what it let through and what it refused."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

SAME_S = 1e-6  # an attempt's start comes back as its end less its latency: floats differ in the last digits
_DOUBLE_S = 0.25  # a slower ramp wastes time, a faster one learns less from its first refusal
_LEAST_PER_S = 0.2
_REMEMBERED = 4000
_SHORTEST_S = 0.01
_SHORTEST_EPOCH_S = 0.5
_FIRST_GUESS, _FIRST_S = 0.7, 0.27  # of what went through at first, and over so long at least: the rest was the burst
_NARROW = 1.7
_CLIMB = 1.6
_CLIMB_S = 8.0
_MARGIN = 0.01
_EARLY_S = 5.0
_CALM_S, _PROBE_S = 22.0, 2.0


class LearnedRate:
    """Brackets the rate of a token bucket between two figures that each refusal gives, and probes for more.

    At a refusal the bucket is empty. So what it let through since the refusal before, over that time, is at most its
    rate (it may have run over in between); and what it let through just before, over that time, is at least its rate
    (it held something at first). The longer a run goes without a refusal, the closer the two.
    """

    def __init__(self, now: float, first_per_s: float) -> None:
        self.per_s: float | None = None
        self._first_per_s = first_per_s
        self._sent = 0
        self._starts_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._resumed_s, self._resumed_sent = now, 0
        self._refusal: tuple[float, int] | None = None
        self._reacted_s = self._last_s = now
        self._low = 0.0
        self._high = math.inf
        self._goal = 0.0
        self._calm_s = _CALM_S

    def bound_per_s(self, now: float) -> float:
        """Attempts a second for now: doubling until the first refusal, then about the learned rate.

        Where little is known it climbs; the rate known, it stays for `_calm_s` and then exceeds it ever faster
        (a plateau, then growth, as in CUBIC: RFC 9438).
        """
        elapsed_s = max(0.0, now - self._resumed_s)
        if self.per_s is None:
            return self._first_per_s * math.exp2(min(elapsed_s / _DOUBLE_S, 30.0))
        climbed = self.per_s * math.pow(self._goal / self.per_s, min(elapsed_s / _CLIMB_S, 10.0))
        return climbed * (1 + _MARGIN * math.exp(min((elapsed_s - self._calm_s) / _PROBE_S, 30.0)))

    def start(self, now: float) -> None:
        """Count an attempt as let through; every one is, until its end says otherwise."""
        idle_s = now - max(self._last_s, self._resumed_s) - 0.1 - 2 / self.bound_per_s(now)
        self._resumed_s += max(0.0, idle_s)  # an idle time is no proof that more would have gone through
        self._last_s = now
        self._sent += 1
        self._starts_s.append(now)

    def forget(self) -> None:
        """Do not count one attempt as let through."""
        self._sent -= 1

    def refuse(self, now: float, start_s: float, resume_s: float) -> bool:
        """Learn from a refusal; say whether it is news: that its attempt started after the last reaction."""
        later = len(self._starts_s) - bisect_right(self._starts_s, start_s + SAME_S)
        self._sent -= 1
        news = start_s >= self._reacted_s - SAME_S
        if news and self.per_s and resume_s <= now and start_s - self._resumed_s < _SHORTEST_EPOCH_S:
            self.per_s = max(0.95 * self.per_s, _LEAST_PER_S)  # the bucket is still empty: it tells nothing new
            self._goal, self._reacted_s = max(self._goal, self.per_s), now
            return True
        if news:
            self._bracket(start_s, self._sent - later)
            self._refusal = (start_s, self._sent - later)
            self._reacted_s = now
            self._calm_s = _CALM_S if resume_s > now else _CALM_S / 5
        if news or resume_s > self._resumed_s:
            self._resumed_s, self._resumed_sent = max(now, resume_s), self._sent
        return news

    def _bracket(self, at_s: float, sent: int) -> None:
        high, low = self._highest_since_resume(at_s, sent), 0.0
        if self._refusal:
            before_s, before = self._refusal
            low = min((sent - before) / max(at_s - before_s, _SHORTEST_S), high)
        settled, epoch_s = self._high < _NARROW * self._low, at_s - self._resumed_s
        if epoch_s > _EARLY_S and high > 1.1 * self._high:
            self._low, self._high = max(low, 0.7 * high), 2 * high  # no burst lasts so long: the limit was raised
        elif (settled and epoch_s < _EARLY_S) or max(low, self._low) > 1.02 * min(high, self._high):
            self._low, self._high = low, high  # the limit has changed
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)
        self._decide(_FIRST_GUESS * (sent - self._resumed_sent) / max(at_s - self._resumed_s, _FIRST_S))

    def _highest_since_resume(self, at_s: float, sent: int) -> float:
        """Attempts a second since sending resumed, or of late: while it was slow the bucket may have run over."""
        epoch_s = max(at_s - self._resumed_s, _SHORTEST_S)
        rates = [(sent - self._resumed_sent) / epoch_s]
        until = bisect_right(self._starts_s, at_s + SAME_S)
        for part_s in (epoch_s / 2, epoch_s / 4):
            rates.append((until - bisect_right(self._starts_s, at_s - part_s)) / part_s)
        return max(*rates, _LEAST_PER_S)

    def _decide(self, guess: float) -> None:
        low, high = self._low, self._high
        if low <= 0.0:
            rate, goal = guess, min(high, _CLIMB * guess)
        elif high > _NARROW * low:
            rate = math.sqrt(low * high)
            goal = min(high, _CLIMB * rate)
        else:
            rate = goal = low + 0.55 * (high - low)
        self.per_s = max((1 - _MARGIN) * rate, _LEAST_PER_S)
        self._goal = max((1 - _MARGIN) * goal, self.per_s)
