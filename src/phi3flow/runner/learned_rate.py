"""How many attempts a second an endpoint bears, learned from what it let through and what it refused."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

from phi3flow.runner.window import FIRST_WINDOW

SAME_S = 1e-6  # an attempt's start comes back as its end less its latency: floats differ in the last digits
_DOUBLE_S = 0.25  # a slower ramp wastes time, a faster one learns less from its first refusal
_LEAST_PER_S = 0.2
_GUESS = 0.7  # of what went through just before the first refusal, some was the burst
_LEAST_MARGIN, _MOST_MARGIN = 0.010, 0.16
_PROBE_S, _CALM_S = 2.0, 22.0
_REFIT_S = 0.1
_CHANGED = 5.0  # misfit, in attempts; a token bucket's is below 2
_BIN_S = 0.010


@dataclass(slots=True)
class _Bin:
    at_s: float
    in_flight: int
    accepted: int = 0
    refused: int = 0


class LearnedRate:
    """Learns the rate of a token bucket from what it accepted up to each refusal, and probes for more.

    At a refusal the bucket is empty. So a leaky bucket that is filled by every accepted attempt and drains at the
    true rate stands at one and the same level at every refusal, its highest: the burst. The rate for which that fits
    best is the one learned; pauses, idle times and unknown bursts need no special treatment.
    """

    def __init__(self, now: float, first_per_s: float) -> None:
        self._first_per_s = first_per_s
        self.per_s: float | None = None
        self._bins: deque[_Bin] = deque(maxlen=2000)
        self._refusals_s: deque[float] = deque(maxlen=3)
        self._resumed_s = self._busy_s = self._reacted_s = self._last_s = now
        self._fitted_s = -math.inf
        self._stale = False
        self._climb_per_s = self._boost = 0.0
        self._calm_s = _CALM_S
        self._margin = _LEAST_MARGIN

    def bound_per_s(self, now: float) -> float:
        """Attempts a second for now: doubling until the first refusal, then about the learned rate.

        The excess over it grows exponentially: unnoticed for `_calm_s`, a twofold rate 10 s later
        (a plateau, then ever faster, as in CUBIC: RFC 9438).
        """
        elapsed_s = max(0.0, now - self._resumed_s)
        if self._stale and now - self._fitted_s >= _REFIT_S:
            self._fit(now)
        if self.per_s is None:
            return self._first_per_s * math.exp2(min(elapsed_s / _DOUBLE_S, 30.0))
        probe = self._margin * math.exp(min((elapsed_s - self._calm_s) / _PROBE_S, 30.0))
        known = 1 - self._margin + self._boost * math.exp(-elapsed_s / 2)
        return self.per_s * (known + math.expm1(min(self._climb_per_s * elapsed_s, 30.0)) + probe)

    def start(self, now: float, in_flight: int) -> None:
        idle_s = now - max(self._last_s, self._resumed_s) - 0.1 - 2 / self.bound_per_s(now)
        self._resumed_s += max(0.0, idle_s)  # an idle time is no proof that more would have gone through
        self._last_s = now
        if not self._bins or now - self._bins[-1].at_s >= _BIN_S:
            self._bins.append(_Bin(now, in_flight))
        self._bins[-1].accepted += 1
        self._bins[-1].in_flight = max(in_flight, self._bins[-1].in_flight)

    def forget(self, start_s: float) -> _Bin | None:
        """Do not count an attempt as accepted; every attempt is, until its end says otherwise."""
        place = bisect_right(self._bins, start_s + SAME_S, key=lambda each: each.at_s) - 1
        if place < 0:
            return None
        self._bins[place].accepted = max(0, self._bins[place].accepted - 1)
        return self._bins[place]

    def refuse(self, now: float, start_s: float, resume_s: float) -> None:
        refused = self.forget(start_s)
        if refused is None:
            return
        refused.refused += 1
        self._stale = True
        news = start_s >= self._reacted_s - SAME_S
        if news:
            self._reacted_s, self._busy_s = now, self._resumed_s
            self._refusals_s.append(start_s)
            if resume_s > now and self.per_s and not self._climb_per_s:
                early = start_s - self._busy_s < _CALM_S / 2  # at a rate thought to be safe
                self._margin = min(max(self._margin * (2 if early else 0.5), _LEAST_MARGIN), _MOST_MARGIN)
            while self._bins[0].at_s < self._refusals_s[0] - 10:
                self._bins.popleft()
            self._resumed_s = max(now, resume_s)
            self._calm_s = _CALM_S if resume_s > now else _CALM_S / 4
        self._resumed_s = max(self._resumed_s, resume_s) if resume_s > now else self._resumed_s
        if self.per_s is None or (news and now - self._fitted_s >= _REFIT_S):
            self._fit(now)

    def window(self) -> int | None:
        """Say how many in flight were let through, where that number alone tells the accepted from the refused."""
        refused = [each.in_flight for each in self._bins if each.refused]
        accepted = [each.in_flight for each in self._bins if each.accepted and not each.refused]
        if len(self._refusals_s) < 3 or self._refusals_s[-1] - self._refusals_s[0] < 2 or not accepted:
            return None  # within one burst of starts the number in flight grows, so that it tells by accident
        if min(refused) <= FIRST_WINDOW:
            return None
        return min(refused) - 1 if max(accepted) < min(refused) else None

    def _levels(self, rate_per_s: float) -> tuple[float, float]:
        """Mean squared distance of the levels at the refusals from the highest level, over it; and the highest."""
        level, highest, peak, before_s = 0.0, 1.0, 1.0, self._bins[0].at_s
        marks = []
        for each in self._bins:
            level = max(0.0, level - rate_per_s * (each.at_s - before_s)) + each.accepted
            before_s = each.at_s
            highest = max(highest, level)
            if each.refused:
                marks.append(level)
                peak = highest
        return sum((peak - mark) ** 2 for mark in marks) / len(marks) / peak, peak

    def _accepted_per_s(self, since_s: float, until_s: float) -> float:
        count = sum(each.accepted for each in self._bins if since_s - _BIN_S <= each.at_s <= until_s)
        return (count + 4) / max(until_s - since_s, _BIN_S)

    def _fit(self, now: float) -> None:
        self._stale, self._fitted_s = False, now
        marks_s = [each.at_s for each in self._bins if each.refused]
        last_s, busy_s = marks_s[-1], max(marks_s[-1] - self._busy_s, _BIN_S)
        most = max(self._accepted_per_s(last_s - busy_s / part, last_s) for part in (1, 2, 4))
        recent = _GUESS * self._accepted_per_s(last_s - min(busy_s, 0.45), last_s)
        known = self.per_s if self.per_s and len(self._refusals_s) > 1 else 0.0
        alone = len(marks_s) == 1
        guess = min(most, max(known, recent)) if alone or not known else min(most, known)

        def misfit(per_s: float) -> float:
            return self._levels(per_s)[0] + 0.3 * math.log(per_s / guess) ** 2

        best = guess
        for reach in (8.0, 8.0**0.2, 8.0**0.04, 8.0**0.008):
            best = min((min(most, best * reach ** (step / 6)) for step in range(-6, 7)), key=misfit)
        doubt = max(2, best * _BIN_S) / (1 + best * (last_s - marks_s[0]))  # about two attempts, or what a bin holds
        if alone and known >= recent:
            doubt = 0.0  # what was learned before holds still
        if misfit(best) > _CHANGED * max(1.0, best * _BIN_S) and len(self._refusals_s) > 1:
            self._start_over()
            best, doubt = _GUESS * best, 1.0
        self.per_s = max(best, _LEAST_PER_S)
        self._climb_per_s = min(0.25, doubt) if doubt > 0.03 else 0.0
        refill_s = min(self._levels(best)[1] / best, max(0.0, self._resumed_s - self._reacted_s))
        self._boost = min(0.06, refill_s / 4) if doubt <= 0.03 else 0.0

    def _start_over(self) -> None:
        """Drop what was seen before the latest refusal but one: no rate explains all of it, so the limit changed."""
        *_, before_s, last_s = self._refusals_s
        while self._bins[0].at_s <= before_s:
            self._bins.popleft()
        self._refusals_s.clear()
        self._refusals_s.append(last_s)
