"""What was sent so far, kept so that the backlog of any token bucket can be read off."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

from phi3flow.pacing.tuning import ATTEMPTS_REMEMBERED

_Corner = tuple[float, float]


class ArrivalCurve:
    """The lower convex hull of (time, attempts started before it).

    A bucket of r tokens a second that was full at first has given out, at time t, the most of
    started(s, t) - r (t - s) over all s <= t: its backlog (Cruz 1991; Le Boudec and Thiran 2001, chapter 1). That most
    is reached at a corner of the hull, for every r. A steady run has a few dozen corners, however long it is.
    """

    def __init__(self, now: float) -> None:
        self._origin_s = now  # times since then: the clock's own are long, which costs digits
        self._corners: list[_Corner] = []
        self._sent_s: list[float] = []
        self._waiting_s: list[float] = []  # started, and not known to be sent
        self._forgotten = 0  # sent before the first that is listed
        self._placed = 0  # listed ones that are on the hull, or under it

    @property
    def started(self) -> int:
        """Attempts so far, but for those taken back."""
        return self._forgotten + len(self._sent_s) + len(self._waiting_s)

    def start(self, now: float) -> None:
        """Count an attempt that starts, until `send` tells more as one that is sent at once."""
        self._waiting_s.append(now)

    def send(self, start_s: float, sent_s: float) -> None:
        """Take note when the attempt that started at ``start_s`` was sent."""
        index = _index_of(self._waiting_s, start_s)
        if index is not None:
            del self._waiting_s[index]
            insort(self._sent_s, sent_s, lo=self._placed)

    def take_back(self, sent_s: float) -> None:
        """Do not count the attempt that was sent at ``sent_s``: it took no token."""
        index = _index_of(self._sent_s, sent_s)
        if index is None:
            return
        del self._sent_s[index]
        if index < self._placed:
            self._placed -= 1
            _take_back(self._corners, sent_s - self._origin_s)

    def settle(self, sent_s: float) -> None:
        """Take what was sent until then for let through, which makes `at` fast."""
        until = bisect_right(self._sent_s, sent_s)
        self._extend(self._corners, self._sent_s[self._placed : until])
        self._placed = max(self._placed, until)
        if self._placed > ATTEMPTS_REMEMBERED:
            drop = self._placed // 2
            del self._sent_s[:drop]
            self._placed, self._forgotten = self._placed - drop, self._forgotten + drop

    def at(self, start_s: float, sent_s: float, latency_s: float = 0.0) -> Moment:
        """Return the curve as it was when an attempt had just been sent."""
        corners = [corner for corner in self._corners if corner[0] <= sent_s - self._origin_s]
        until = bisect_right(self._sent_s, sent_s)
        waiting = bisect_right(self._waiting_s, start_s)  # what started later is sent later
        self._extend(corners, sorted([*self._sent_s[self._placed : until], *self._waiting_s[:waiting]]))
        return Moment(sent_s, latency_s, self._forgotten + until + waiting, corners, self._origin_s)

    def _extend(self, corners: list[_Corner], sent_s: list[float]) -> None:
        """Add what was sent after all that is on the hull."""
        for index, at_s in enumerate(sent_s, start=self._forgotten + self._placed):
            _extend(corners, (max(at_s - self._origin_s, corners[-1][0] if corners else 0.0), index))


def _index_of(times_s: list[float], at_s: float) -> int | None:
    index = bisect_left(times_s, at_s)
    return index if times_s[index : index + 1] == [at_s] else None


@dataclass(slots=True)
class Moment:
    """The curve up to one attempt, which ended ``latency_s`` after it was sent."""

    sent_s: float
    latency_s: float
    started: int
    _corners: list[_Corner]
    _origin_s: float

    def backlog(self, per_s: float) -> float:
        """Return how many tokens a bucket of ``per_s`` was short of being full."""
        lowest = math.inf
        for at_s, before in reversed(self._corners):
            level = before - per_s * at_s
            if level > lowest:
                break  # it is convex: the lowest was found
            lowest = level
        return max(0.0, self.started - per_s * (self.sent_s - self._origin_s) - lowest)

    def take_back(self, sent_s: float) -> bool:
        """Do not count an attempt that took no token; False where it was sent later."""
        earlier = sent_s < self.sent_s
        if earlier:
            self.started -= 1
            _take_back(self._corners, sent_s - self._origin_s)
        return earlier


def _take_back(corners: list[_Corner], since_s: float) -> None:
    points = [(at_s, before - (at_s > since_s)) for at_s, before in corners]
    corners.clear()
    for point in points:
        _extend(corners, point)


def _extend(corners: list[_Corner], point: _Corner) -> None:
    """Add a point on the right (Andrew's monotone chain)."""
    while len(corners) > 1 and _is_above(corners[-2], corners[-1], point):
        corners.pop()
    corners.append(point)


def _is_above(left: _Corner, middle: _Corner, right: _Corner) -> bool:
    return (middle[1] - left[1]) * (right[0] - left[0]) >= (right[1] - left[1]) * (middle[0] - left[0])
