"""How many attempts a second an endpoint bears, learned from what it let through and what it refused."""

from __future__ import annotations

import math
from collections.abc import Iterator

from phi3flow.pacing.arrival_curve import ArrivalCurve, Moment
from phi3flow.pacing.start import Start
from phi3flow.pacing.tuning import (
    AFTER_A_CHANGE,
    AMONG,
    ARRIVAL_JITTER_S,
    BURST_S,
    CALM_S,
    CALM_UNPAUSED_S,
    CHECK_S,
    CLIMB_ON,
    COUNT_JITTER,
    DOUBLE_AGAIN_S,
    DOUBLE_S,
    IDLE_GAPS,
    IDLE_S,
    LATE,
    LATE_S,
    LEAST_BURST_S,
    LEAST_PER_S,
    MOST_DOUBLINGS,
    PROBE,
    PROBE_S,
    RAISED_DOUBLE_S,
    RATE_STEP,
    REFUSALS_REMEMBERED,
    SOON_S,
    WANDER,
    WIDE,
)


class LearnedRate:
    """Finds the token buckets that explain every refusal, and sends at a rate among theirs.

    A bucket refuses when its backlog has come up to its burst. So at its true rate the backlogs at all refusals are
    equal, and what was let through stayed below; the rates at which that is so, but for the jitter of arrivals, are
    possible. Two refusals after ramps of different length tell a rate to a few percent, time tells the rest.
    """

    def __init__(self, now: float, first_per_s: float) -> None:
        self.per_s: float | None = None
        self._reacted_s = self._last_s = now
        self._least_latency_s = math.inf
        self._begin(now, first_per_s, DOUBLE_S)

    def _begin(self, now: float, per_s: float, double_s: float) -> None:
        self._curve = ArrivalCurve(now)
        self._refusals: list[Moment] = []
        self._rates: list[float] = []
        self._most: list[float] = []
        self._lowest, self._highest_per_s = 0, math.inf
        self._resumed_s, self._resumed_at = now, 0
        self._checked_s, self._stale = now, False
        self._calm_s = CALM_S
        self._ramp(per_s, double_s)

    def _ramp(self, per_s: float, double_s: float) -> None:
        self._ramping, self._ramp_per_s, self._double_s = True, max(per_s, LEAST_PER_S), double_s

    @property
    def is_sure(self) -> bool:
        """True where one token bucket explains refusals that it need not: two fit some bucket always."""
        return len(self._refusals) > 2

    def bound_per_s(self, now: float) -> float:
        """Attempts a second for now: doubling until refusals tell a rate, then about that rate.

        It is kept for a while and then exceeded, ever faster (a plateau, then growth, as in CUBIC: RFC 9438).
        """
        elapsed_s = max(0.0, now - self._resumed_s)
        if self._ramping or self.per_s is None:
            return min(
                self._ramp_per_s * math.exp2(min(elapsed_s / self._double_s, MOST_DOUBLINGS)), self._highest_per_s
            )
        return self.per_s * (1 + PROBE * math.exp(min((elapsed_s - self._calm_s) / PROBE_S, MOST_DOUBLINGS)))

    def start(self, now: float) -> None:
        """Count an attempt as let through; every one is, until its end says otherwise."""
        idle_s = now - max(self._last_s, self._resumed_s) - IDLE_S - IDLE_GAPS / self.bound_per_s(now)
        self._resumed_s += max(0.0, idle_s)  # it is sending that raises the bound
        self._last_s = now
        self._curve.start(now)

    def send(self, start: Start) -> None:
        """Take note that it is known when an attempt was sent, or that it never will be."""
        self._curve.send(start.at_s, start.sent_s)

    def succeed(self, now: float, start: Start) -> None:
        """Learn from an attempt that was let through."""
        self.send(start)
        if now - self._checked_s < CHECK_S:
            return
        self._checked_s = now
        self._curve.settle(start.sent_s)
        if self._refusals and start.sent_s > self._refusals[-1].sent_s:
            self._raise_lowest(now, self._curve.at(start.at_s, start.sent_s))

    def forget(self, start: Start) -> None:
        """Do not count one attempt as let through."""
        self.send(start)
        self._curve.take_back(start.sent_s)
        if self._refusals and self._refusals[-1].take_back(start.sent_s):
            self._stale = True

    def refuse(self, now: float, start: Start, resume_s: float) -> bool:
        """Learn from a refusal; say whether it is news: that its attempt started after the last reaction."""
        bound = self.bound_per_s(now)
        self.forget(start)
        latency_s = now - start.sent_s
        self._least_latency_s = min(self._least_latency_s, latency_s)
        news = start.at_s >= self._reacted_s
        if news:
            self._learn(self._curve.at(start.at_s, start.sent_s, latency_s), bound, resume_s)
            self._reacted_s = now
            self._calm_s = CALM_S if resume_s > now else CALM_UNPAUSED_S
        if news or resume_s > self._resumed_s:
            self._resumed_s, self._resumed_at = max(now, resume_s), self._curve.started
        return news

    def _learn(self, refusal: Moment, bound: float, resume_s: float) -> None:
        if self._refusals and (refusal.sent_s - self._refusals[-1].sent_s < SOON_S or self._came_late(refusal)):
            return
        sent, span_s = refusal.started - self._resumed_at, max(0.0, refusal.sent_s - self._resumed_s)
        self._refusals = [*self._refusals[1 - REFUSALS_REMEMBERED :], refusal]
        first = len(self._refusals) == 1
        if not self._fit():
            self._begin(resume_s, AFTER_A_CHANGE * bound, DOUBLE_AGAIN_S)  # the limit has changed
        elif first:
            self._ramp(sent / (span_s + BURST_S), max(DOUBLE_AGAIN_S, span_s / 2))
        elif self._highest_per_s > WIDE * self._rates[0]:
            self._ramp(CLIMB_ON * bound, DOUBLE_AGAIN_S)
        else:
            self._ramping = False
        self._settle()

    def _came_late(self, refusal: Moment) -> bool:
        return refusal.latency_s - self._least_latency_s > max(LATE_S, LATE * self._least_latency_s)

    def _fit(self) -> bool:
        """List the rates that are possible, and how much backlog each allows; where none is, the old ones stay."""
        fits = [(per_s, most) for per_s in self._candidates() if (most := self._most_backlog(per_s)) is not None]
        self._stale = False
        if fits:
            self._rates, self._most = [per_s for per_s, _ in fits], [most for _, most in fits]
            self._lowest, self._highest_per_s = 0, self._rates[-1]
        return bool(fits)

    def _candidates(self) -> Iterator[float]:
        """Rates at which the last refusal finds anything taken out of the bucket."""
        last = self._refusals[-1]
        per_s = LEAST_PER_S if len(self._refusals) < 3 else max(LEAST_PER_S, self._rates[0] / 4)
        while last.backlog(per_s) >= _least_burst(per_s):
            yield per_s
            per_s *= RATE_STEP

    def _most_backlog(self, per_s: float) -> float | None:
        last = self._refusals[-1]
        backlog, slack = last.backlog(per_s), self._slack(per_s, last)
        for other in self._refusals[:-1]:
            apart = max(slack, self._slack(per_s, other)) + WANDER * per_s * (last.sent_s - other.sent_s)
            if other.backlog(per_s) < _least_burst(per_s) or abs(other.backlog(per_s) - backlog) > apart:
                return None
        return backlog + slack

    def _slack(self, per_s: float, refusal: Moment) -> float:
        return COUNT_JITTER + per_s * max(ARRIVAL_JITTER_S, refusal.latency_s - self._least_latency_s)

    def _raise_lowest(self, now: float, accepted: Moment) -> None:
        """Drop the rates whose bucket would have refused what was let through."""
        if self._stale:
            self._fit()
        wander_s = WANDER * (now - self._refusals[-1].sent_s)
        for index in range(self._lowest, len(self._rates)):
            per_s = self._rates[index]
            if accepted.backlog(per_s) <= self._most[index] + wander_s * per_s:
                self._lowest = index
                break
        else:
            self._begin(now, self.bound_per_s(now), RAISED_DOUBLE_S)  # more than any allows: the limit was raised
        self._settle()

    def _settle(self) -> None:
        low = self._rates[self._lowest] if self._rates else 0.0
        self.per_s = self._ramp_per_s if self._ramping else low * math.pow(self._highest_per_s / low, AMONG)


def _least_burst(per_s: float) -> float:
    return 1 + LEAST_BURST_S * per_s
