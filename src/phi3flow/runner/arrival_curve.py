"""What was sent so far, kept so that the backlog of any token bucket can be read off."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

SAME_S = 1e-6  # an attempt's start comes back as its end less its latency: floats differ in the last digits
_REMEMBERED = 10_000

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
        self._starts_s: list[float] = []
        self._forgotten = 0  # starts before the first that is listed
        self._placed = 0  # listed starts that are on the hull, or under it

    @property
    def started(self) -> int:
        """Attempts so far, but for those taken back."""
        return self._forgotten + len(self._starts_s)

    def add(self, now: float) -> None:
        """Count an attempt that starts."""
        self._starts_s.append(now)

    def take_back(self, start_s: float) -> None:
        """Do not count the attempt that started at ``start_s``: it took no token."""
        place = bisect_right(self._starts_s, start_s + SAME_S) - 1
        if place < 0 or self._starts_s[place] < start_s - SAME_S:
            return
        del self._starts_s[place]
        if place < self._placed:
            self._placed -= 1
            _take_back(self._corners, start_s - self._origin_s)

    def settle(self, start_s: float) -> None:
        """Take what started until then for let through, which makes `at` fast."""
        until = bisect_right(self._starts_s, start_s + SAME_S)
        self._extend(self._corners, until)
        self._placed = max(self._placed, until)
        if self._placed > _REMEMBERED:
            drop = self._placed // 2
            del self._starts_s[:drop]
            self._placed, self._forgotten = self._placed - drop, self._forgotten + drop

    def at(self, start_s: float, latency_s: float = 0.0) -> Moment:
        """Return the curve as it was when an attempt had just started."""
        corners = [corner for corner in self._corners if corner[0] <= start_s - self._origin_s + SAME_S]
        until = bisect_right(self._starts_s, start_s + SAME_S)
        self._extend(corners, until)
        return Moment(start_s, latency_s, self._forgotten + until, corners, self._origin_s)

    def _extend(self, corners: list[_Corner], until: int) -> None:
        for place in range(self._placed, until):
            _extend(corners, (self._starts_s[place] - self._origin_s, self._forgotten + place))


@dataclass(slots=True)
class Moment:
    """The curve up to one attempt, which ended ``latency_s`` after its start."""

    start_s: float
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
        return max(0.0, self.started - per_s * (self.start_s - self._origin_s) - lowest)

    def take_back(self, start_s: float) -> bool:
        """Do not count an attempt that took no token; False where it started later."""
        earlier = start_s < self.start_s - SAME_S
        if earlier:
            self.started -= 1
            _take_back(self._corners, start_s - self._origin_s)
        return earlier


def _take_back(corners: list[_Corner], since_s: float) -> None:
    points = [(at_s, before - (at_s > since_s + SAME_S)) for at_s, before in corners]
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
