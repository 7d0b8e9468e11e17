"""How many attempts in flight an endpoint needs to be full, and no more."""

from __future__ import annotations

from collections import deque
from statistics import median

from phi3flow.pacing.slots import Slots
from phi3flow.pacing.tuning import (
    BACK_OFF,
    ENOUGH,
    FIRST_WINDOW,
    GROWN_ENOUGH,
    HOLD_ROUNDS,
    LATENCIES_REMEMBERED,
    ROUNDS_REMEMBERED,
    SHRINK,
    SLOW_START_STEP,
    SLOWER,
    SPARE,
    STEP,
    TRIED_WINDOW,
    WORTH_IT,
)


class Window:
    """Finds how many attempts in flight an endpoint needs to be full, and no more.

    Slow start (Jacobson 1988) until goodput stops growing (BBR's start-up exit, Cardwell et al. 2016) or latency
    doubles; then one more a round trip (Chiu & Jain 1989), for as long as it pays. Where refusals show how many the
    endpoint takes, as many.
    """

    def __init__(self, now: float, most: int) -> None:
        self._most = most
        self._size = float(min(FIRST_WINDOW, most))
        self._slow_start = True
        self._rounds: deque[tuple[float, float]] = deque(maxlen=ROUNDS_REMEMBERED)
        self._best_s = deque[float](maxlen=LATENCIES_REMEMBERED)
        self._proven = (self._size, 0.0)
        self._hold = 0
        self._slots = Slots()
        self._floor = 0
        self._begin(now)

    @property
    def limit(self) -> int:
        if self._slots.most is not None:
            return min(self._slots.most, self._most)
        return max(int(self._size), self._floor)

    @property
    def is_known(self) -> bool:
        """True where refusals came for the number in flight: no rate has to be kept."""
        return self._slots.most is not None

    def allow(self, per_s: float) -> None:
        """Leave room for a learned rate, and for what it may rise to, to be what binds."""
        self._floor = min(self._most, int(SPARE * per_s * min(self._best_s, default=0.0)))

    def _begin(self, now: float) -> None:
        self._round_s = now
        self._round_size = self._size
        self._used = False
        self._latencies_s: list[float] = []

    def start(self, in_flight: int) -> None:
        self._used = self._used or in_flight * (2 if self._slow_start else 1) >= self.limit

    def succeed(self, now: float, latency_s: float, in_flight: int) -> None:
        if self._slow_start and 2 * in_flight > self._size:
            self._size = min(self._size + SLOW_START_STEP, self._most)
        self._latencies_s.append(latency_s)
        self._slots.succeed()
        if len(self._latencies_s) >= self._round_size and now - latency_s >= self._round_s:
            goodput, middle_s = len(self._latencies_s) / (now - self._round_s), median(self._latencies_s)
            self._best_s.append(middle_s)
            if self._used and self._slow_start:
                self._end_slow_round(goodput, middle_s > SLOWER * min(self._best_s))
            elif self._used:
                self._end_round(goodput, middle_s > SLOWER * min(self._best_s))
            self._begin(now)

    def _end_slow_round(self, goodput: float, slower: bool) -> None:
        self._rounds.append((self._round_size, goodput))
        if slower or (len(self._rounds) > 2 and goodput < GROWN_ENOUGH * self._rounds[-3][1]):
            enough = ENOUGH * max(goodput for _, goodput in self._rounds)
            self._proven = min(proven for proven in self._rounds if proven[1] >= enough)
            self._size, self._slow_start = self._proven[0], False

    def _end_round(self, goodput: float, slower: bool) -> None:
        size, before = self._proven
        if self._hold:
            self._hold -= 1
        elif self._round_size >= TRIED_WINDOW * size and goodput < WORTH_IT * before:
            self._size, self._hold = (BACK_OFF if slower else 1.0) * size, HOLD_ROUNDS
            self._proven = (self._size, goodput)
        else:
            if self._round_size >= TRIED_WINDOW * size:
                self._proven = (self._round_size, goodput)
            self._size = min(self._size + STEP, self._most)

    def refuse(self, now: float, in_flight: int, *, says_when: bool, by_rate: bool) -> None:
        """Leave slow start and shrink.

        ``says_when``: the refusal said until when to wait, as one does that counts requests in time. ``by_rate``: a
        limit on the rate explains the refusals so far.
        """
        if not says_when:
            self._slots.refuse(now, in_flight, by_rate=by_rate)
        self._slow_start = False
        self._size = max(1.0, SHRINK * self._size)
        self._hold = HOLD_ROUNDS
        self._proven = (self._size, 0.0)
        self._begin(now)
