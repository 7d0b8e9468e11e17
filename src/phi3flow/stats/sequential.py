"""A test that may be looked at after every unit, and stopped at the first that decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from phi3flow.stats.estimates import ALPHA, Floats

_ROUNDING = 1e-9  # BLEU of a perfect answer is a little above 100
# Stakes: each is best for one ratio of mean to variance; their mean loses little against the best of them.
_STAKES = np.geomspace(0.02, 0.95, 16)


class SequentialTest:
    """Tests whether the mean of independent units in [-1, 1] is 0, at level 5 % whenever it is stopped.

    Two gamblers bet on each unit with several stakes, one that the mean is above 0, one that it is below; under a
    mean of 0 their average capital is a martingale that starts at 1, and so ever reaches 20 in 5 % of all cases
    (Ville's inequality; Waudby-Smith and Ramdas 2024, section 4).
    """

    def __init__(self) -> None:
        self.units = 0
        self.p = 1.0
        self._seen: list[float] = []
        self._log_capital = np.zeros((2, len(_STAKES)))

    def add(self, value: float) -> None:
        """Take one more unit. Raises ValueError outside [-1, 1]."""
        if not abs(value) <= 1 + _ROUNDING:
            raise ValueError(f"a unit of a sequential test is between -1 and 1, not {value}")
        value = max(-1.0, min(value, 1.0))
        self.units += 1
        self._seen.append(value)
        self._log_capital += np.log1p(np.outer((1, -1), _STAKES * value))
        self.p = min(self.p, float(np.exp(-_log_mean(self._log_capital))))

    @property
    def is_decided(self) -> bool:
        """Whether the mean is shown not to be 0."""
        return self.p <= ALPHA

    @property
    def mean(self) -> float:
        """The mean so far."""
        return float(np.mean(self._seen)) if self._seen else 0.0

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the mean that holds whenever the test is stopped.

        It is of the means that are not refuted: bets like those against 0 have not reached a capital of 20.
        """
        values, limit = np.asarray(self._seen), -np.log(ALPHA)

        def excess(mean: float) -> float:
            return _log_capital_against(values, mean) - float(limit)

        least, most = -1 + 1e-9, 1 - 1e-9  # at -1 and 1 themselves no bet is defined
        centre = min(max(self.mean, least), most)
        low = -1.0 if excess(least) <= 0 else float(optimize.brentq(excess, least, centre))
        high = 1.0 if excess(most) <= 0 else float(optimize.brentq(excess, centre, most))
        return low, high


def anytime_p(units: Floats) -> Floats:
    """Return ``SequentialTest``'s p after each unit, along the last axis of many sequences of them."""
    bets = np.concatenate([_STAKES, -_STAKES])
    capital = np.cumsum(np.log1p(units[..., None] * bets), axis=-2)
    log_mean = np.logaddexp.reduce(capital, axis=-1) - np.log(len(bets))
    return np.asarray(np.minimum(1.0, np.exp(-np.maximum.accumulate(log_mean, axis=-1))))


def _log_capital_against(values: Floats, mean: float) -> float:
    """Return the log of the capital won by betting that the mean of ``values`` is not ``mean``, inside (-1, 1)."""
    distance = values - mean
    stakes = np.stack([_STAKES / (1 + mean), -_STAKES / (1 - mean)])  # the worst unit leaves a part of the capital
    return _log_mean(np.log1p(stakes[..., None] * distance).sum(axis=-1))


def _log_mean(logs: ArrayLike) -> float:
    values = np.asarray(logs, dtype=float)
    return float(np.logaddexp.reduce(values, axis=None) - np.log(values.size))
