"""A test that may be looked at after every unit, and stopped at the first that decides."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from phi3flow.stats.estimates import ALPHA, Floats

_ROUNDING = 1e-9  # BLEU of a perfect answer is a little above 100
# Stakes, as shares of the most that can be staked: each is best for one ratio of mean to variance, and their mean loses
# little against the best of them. Less than about 4 / sqrt(units) wins too little, in so many units, ever to decide.
_MOST_STAKED = 0.98
_LEAST_STAKED = 4.0
_LEAST_STAKED_OF_FEW = 0.8
_STAKES = 8


class SequentialTest:
    """Tests whether lines differ by 0 on average, unit by unit (a conversation each), wherever it is stopped.

    A unit comes as the total of its lines' differences, each in [-1, 1], and their number, at most ``longest``. Units
    are independent draws; those of one may depend on each other in any way, and differ by its length. Tested is that a
    unit's expected total is 0, which is that the mean over lines is. Two gamblers bet on each total with several
    stakes, one that it is above 0, one that it is below; under 0 their average capital is a martingale that starts at
    1, and ever reaches 1 / level with a chance of at most ``level`` (Ville's inequality; Waudby-Smith and Ramdas 2024,
    section 4).

    No stake depends on the length of the unit that it is put on: where long conversations differ by more than short
    ones, that would test another mean. So none is above 1 / ``longest``, which is the most that is valid whatever the
    differences: the capital is at most exp(mean x lines / longest). ``lines`` is how many there will be at most; it
    chooses the stakes.
    """

    def __init__(self, *, lines: int, longest: int) -> None:
        self.units = 0
        self._longest = longest
        self._totals: list[float] = []
        self._lines: list[int] = []
        self._capacity = lines / longest
        self._stakes = _stakes(self._capacity)
        self._log_capital = np.zeros((2, _STAKES))

    def add(self, total: float, lines: int) -> None:
        """Take one more unit. Raises ValueError where its total is not between -``lines`` and ``lines``."""
        if not abs(total) <= lines * (1 + _ROUNDING):
            raise ValueError(f"the total of {lines} differences between -1 and 1 is not {total}")
        total = max(-lines, min(total, lines))
        self.units += 1
        self._totals.append(total)
        self._lines.append(lines)
        self._log_capital += np.log1p(np.outer((1, -1), self._stakes * (total / self._longest)))

    @property
    def p(self) -> float:
        """The p of a test that stops here: what the gamblers' capital has grown to, inverted."""
        return math.exp(-max(0.0, _log_mean(self._log_capital)))

    @property
    def mean(self) -> float:
        """The mean over the lines so far."""
        return sum(self._totals) / max(sum(self._lines), 1)

    def least_decided(self, level: float = ALPHA) -> float:
        """Return a difference below which no lines of this number and length decide, whatever they are.

        No gambler's capital exceeds exp(stake x mean x lines / longest), and one of the two loses.
        """
        return math.log(2 / level) / (_MOST_STAKED * self._capacity)

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """Return the confidence interval of the mean over lines, at 1 - ``level``, that holds wherever the test stops.

        It is of the means that are not refuted: bets like those against 0 have not reached a capital of 1 / level.
        """
        totals, lines = np.asarray(self._totals) / self._longest, np.asarray(self._lines) / self._longest

        def excess(mean: float) -> float:
            stakes = np.stack([self._stakes / (1 + mean), -self._stakes / (1 - mean)])  # the worst unit leaves some
            return _log_mean(np.log1p(stakes[..., None] * (totals - mean * lines)).sum(axis=-1)) + math.log(level)

        least, most = -1 + 1e-9, 1 - 1e-9  # at -1 and 1 themselves no bet is defined
        centre = min(max(self.mean, least), most)
        low = -1.0 if excess(least) <= 0 else float(optimize.brentq(excess, least, centre))
        high = 1.0 if excess(most) <= 0 else float(optimize.brentq(excess, centre, most))
        return low, high


def anytime_p(units: Floats, *, capacity: ArrayLike) -> Floats:
    """Return ``SequentialTest``'s p after each unit, along the last axis of many sequences of them.

    ``units`` are totals divided by ``longest``; ``capacity`` is lines / longest, one for all sequences or one for each.
    """
    stakes = np.broadcast_to(_stakes(capacity), (*units.shape[:-1], _STAKES))
    bets = np.concatenate([stakes, -stakes], axis=-1)
    capital = np.cumsum(np.log1p(units[..., None, :] * bets[..., None]), axis=-1)
    log_mean = np.logaddexp.reduce(capital, axis=-2) - math.log(2 * _STAKES)
    return np.asarray(np.exp(-np.maximum(log_mean, 0.0)))


def _stakes(capacity: ArrayLike) -> Floats:
    """Return the stakes for data that holds ``capacity`` units of the greatest length, on a new last axis."""
    least = np.minimum(_LEAST_STAKED / np.sqrt(np.asarray(capacity, dtype=float)), _LEAST_STAKED_OF_FEW)
    return np.geomspace(least, _MOST_STAKED, _STAKES, axis=-1)


def _log_mean(logs: ArrayLike) -> float:
    values = np.asarray(logs, dtype=float)
    return float(np.logaddexp.reduce(values, axis=None) - np.log(values.size))
