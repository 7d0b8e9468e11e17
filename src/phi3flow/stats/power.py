"""How sure so many lines make a decision, and how many lines make it sure: pure functions of numbers.

A decision is the tool's own: an interval lies wholly on one side of a limit; of 0/1 differences from 0, mid-p McNemar
is significant too. It is planned for the side on which the truth lies: "better" of a mean above the limit, "worse"
below. How the scores scatter says how it is computed: ``Discordance`` and ``Share`` count all outcomes of 0/1 scores
with their chances, ``Spread`` takes scores as normal.

Counted through, power goes up and down by a point from one n to the next. Lines needed are therefore looked for in
steps of a fortieth, from the normal formula on: that number has the power, and up to 2.5 % fewer lines may have it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.bounded_means import LEAST_OF_CLUSTERED_DIFFERENCES, BoundedMean, pseudo_weight
from phi3flow.stats.estimates import ALPHA, ROUNDING, Floats, t_interval
from phi3flow.stats.paired_shares import binomial, least_wins, mcnemar_mid_p
from phi3flow.stats.shares import FEW, MOST_ONE_SIDED, share_interval, share_tail

POWER = 0.80

_Z_POWER = float(special.ndtri(POWER))
_STEPS = 40
_FORMULA = 1_000_000  # lines from which on the normal formula differs by less than a step
_TAIL = 9.0  # standard deviations beyond which outcomes have no chance
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class Discordance:
    """Paired 0/1 scores: the ``share`` of lines that differ, or the true difference where that is greater.

    ``width`` is that of the range whose ends the scores are.
    """

    share: float
    width: float = 1.0

    def power(self, n: int, mean: float, *, limit: float = 0.0, level: float = ALPHA) -> float:
        """Return the chance that ``n`` pairs show the mean difference to lie beyond ``limit``: -M for no worse by M.

        By the bound of ``tango_interval`` at ``level``, and mid-p McNemar where the limit is 0. Beyond a margin the
        exact count, which is left out, takes up to 0.03 of it.
        """
        sign = 1 if mean >= limit else -1
        wins, losses = self._shares(sign * mean)
        middle, reach = n * losses, _TAIL * math.sqrt(n * losses * (1 - losses)) + _TAIL
        lost = np.arange(max(0, math.floor(middle - reach)), min(n, math.ceil(middle + reach)) + 1)
        least = _deciding_wins(n, lost, sign * limit / self.width, level)
        share = min(wins / (1 - losses), 1.0) if losses < 1 else 0.0
        return float((binomial(n, lost, losses) * special.bdtrc(least - 1.0, n - lost, share)).sum())

    def lines_needed(self, mean: float, *, limit: float = 0.0, level: float = ALPHA) -> int | None:
        """Return how many pairs decide with 80 % power; None where the truth is the limit."""
        wins, losses = self._shares(mean)
        deviation = math.sqrt(max(wins + losses - (wins - losses) ** 2, 0.0))
        start = _normal_lines(deviation, (mean - limit) / self.width, level)
        if start and abs(mean) < abs(limit):  # of pairs that do not differ Tango's bound is z^2 / (n + z^2) away from 0
            distance = min(abs(limit) / self.width, 1.0)
            start = max(start, math.ceil(_z(level) ** 2 * (1 - distance) / distance))
        return _search(lambda n: self.power(n, mean, limit=limit, level=level), start)

    def minimum_detectable_effect(self, n: int, *, level: float = ALPHA) -> float | None:
        """Return the least true difference that ``n`` pairs tell from 0 with 80 % power; None where none is."""
        guess = self.width * (_z(level) + _Z_POWER) * math.sqrt(max(self.share, 1 / n) / n)
        return _least_effect(lambda mean: self.power(n, mean, level=level), self.width, guess)

    def _shares(self, mean: float) -> tuple[float, float]:
        difference = mean / self.width
        differing = max(self.share, abs(difference))
        return (differing + difference) / 2, (differing - difference) / 2


@dataclass(frozen=True)
class Share:
    """One run's 0/1 scores, of which ``design_effect`` count as an independent one where they share conversations."""

    design_effect: float = 1.0

    def power(self, n: int, mean: float, *, limit: float) -> float:
        """Return the chance that ``n`` scores of the true share ``mean`` show it to lie beyond ``limit``.

        By the 95 % interval, and the exact count where every score is an independent one.
        """
        share, limit = (mean, limit) if mean >= limit else (1 - mean, 1 - limit)
        independent = round(n / self.design_effect)
        least = math.ceil(independent * limit + _z(ALPHA) * math.sqrt(independent * limit * (1 - limit)))
        if independent < FEW:
            low, _ = share_interval(np.arange(independent + 1), max(independent, 1))
            least = int((low < limit).sum())
        while self.design_effect == 1 and least <= n and share_tail(least, n, limit, above=True) > MOST_ONE_SIDED:
            least += 1
        return float(special.bdtrc(least - 1.0, independent, share)) if least <= independent else 0.0

    def lines_needed(self, mean: float, *, limit: float) -> int | None:
        """Return how many lines tell the share ``mean`` from ``limit`` with 80 % power; None where no number does."""
        if not 0 < limit < 1 or mean == limit:
            return None
        deviations = _z(ALPHA) * math.sqrt(limit * (1 - limit)) + _Z_POWER * math.sqrt(mean * (1 - mean))
        start = math.ceil(self.design_effect * (deviations / (mean - limit)) ** 2)
        return _search(lambda n: self.power(n, mean, limit=limit), start)


@dataclass(frozen=True)
class Spread:
    """Scores, or differences, of any size.

    ``deviation`` is one line's standard deviation, or se * sqrt(n) where lines share conversations; ``unit`` is how
    many lines make a degree of freedom then: n / (df + 1). ``length`` is a conversation's mean number of lines, which
    are fewer where conversations are unequal; None is ``unit``. ``ends`` are those between which a bounded mean is
    inferred, ``width`` that of the scores' range (``infer_bounded_mean``); without ends it is Student's t.
    """

    deviation: float
    unit: float = 1.0
    length: float | None = None
    ends: ScoreRange | None = None
    width: float = 1.0

    @classmethod
    def of_scores(
        cls, deviation: float, score_range: ScoreRange | None, *, unit: float = 1.0, length: float | None = None
    ) -> Spread:
        """Return the spread of scores; None is no range."""
        width = score_range[1] - score_range[0] if score_range else 1.0
        return cls(deviation, unit, length, ends=score_range, width=width)

    @classmethod
    def of_differences(
        cls, deviation: float, width: float | None, *, unit: float = 1.0, length: float | None = None
    ) -> Spread:
        """Return the spread of differences of scores whose range has this ``width``; None is no range."""
        return cls(deviation, unit, length, ends=(-width, width) if width else None, width=width or 1.0)

    def power(self, n: int, mean: float, *, limit: float = 0.0, level: float = ALPHA) -> float:
        """Return the chance that the interval of ``n`` scores, whose true mean is ``mean``, excludes ``limit``.

        For normal scores: integrated over the distribution of their standard deviation, on which the interval's width
        and the weight of its pseudo scores depend. Without ends it is the noncentral t distribution's.
        """
        units = n / self.unit
        if units <= 1:
            return 0.0
        chance = (1 + _NODES) / 2
        variance = self._floored**2 * special.chdtri(units - 1, 1 - chance) / (units - 1)
        low, high = self._interval(n, mean, variance, level)
        beyond = low - limit if mean >= limit else limit - high
        return float(_WEIGHTS @ special.ndtr(beyond * math.sqrt(n) / self._floored) / 2)

    def lines_needed(self, mean: float, *, limit: float = 0.0, level: float = ALPHA) -> int | None:
        """Return how many lines tell the mean from ``limit`` with 80 % power; None where the truth is the limit."""
        start = _normal_lines(self._floored, mean - limit, level) if self._floored else None
        if start is None or start > _FORMULA:
            return start
        too_few, enough = 1, max(start, 2)
        while self.power(enough, mean, limit=limit, level=level) < POWER:
            too_few, enough = enough, 2 * enough
        while enough - too_few > 1:
            middle = (enough + too_few) // 2
            suffices = self.power(middle, mean, limit=limit, level=level) >= POWER
            too_few, enough = (too_few, middle) if suffices else (middle, enough)
        return enough

    def minimum_detectable_effect(self, n: int, *, level: float = ALPHA) -> float | None:
        """Return the least true mean that ``n`` lines tell from 0 with 80 % power; None where none is."""
        if n <= self.unit or not self._floored:
            return None
        largest = self.ends[1] if self.ends else math.inf
        return _least_effect(lambda mean: self.power(n, mean, level=level), largest, self._floored / math.sqrt(n))

    @property
    def _floored(self) -> float:
        """The deviation; where nothing scatters, next to nothing of the range: the pseudo scores then set the width."""
        return max(self.deviation, ROUNDING * self.width if self.ends else 0.0)

    def _interval(self, n: int, mean: float, variance: Floats, level: float) -> tuple[Floats, Floats]:
        """Return the interval of ``n`` lines, for each of a line's variances; the lines have no skewness of their own.

        The degrees of freedom are those of conversations that weigh alike, so many that they are one in ``unit`` lines.
        """
        units = n / self.unit
        if self.ends is None:
            return t_interval(mean, np.sqrt(variance / n), units - 1, level)
        are_differences, length = self.ends[0] == -self.width, self.length or self.unit
        least = LEAST_OF_CLUSTERED_DIFFERENCES if are_differences and self.unit > 1 else 0.0
        weight = pseudo_weight(np.sqrt(variance / self.unit) / self.width, least=least)
        beyond = length * (np.array(self.ends)[:, None] - mean)
        pseudo = weight * (2 * beyond**2 if are_differences else np.square(beyond).sum(axis=0))
        total = n + 2 * weight * length
        alike = total**2 / (n * self.unit + 2 * weight * length**2)
        squares = np.broadcast_to((n - self.unit) * variance + pseudo, (2, len(variance)))
        se_low, se_high = np.sqrt(squares * alike / (alike - 1)) / total
        skewness = weight * (0.0 if are_differences else (beyond**3).sum(axis=0)) / squares[0] ** 1.5
        means = np.full_like(variance, mean)
        limits = (-math.inf, math.inf)
        return BoundedMean(means, se_low, se_high, alike - 1, (skewness,), limits).interval(level)


def _deciding_wins(n: int, lost: NDArray[np.intp], limit: float, level: float) -> NDArray[np.intp]:
    """Return from how many wins on the pairs decide, for each number of losses; n - losses + 1 where none does."""
    enough = least_wins(n, lost, limit, _z(level))
    if limit == 0:
        while (insignificant := (enough <= n - lost) & (mcnemar_mid_p(enough, lost) >= level)).any():
            enough = enough + insignificant
    return enough


def _z(level: float) -> float:
    return float(special.ndtri(1 - level / 2))


def _normal_lines(deviation: float, distance: float, level: float) -> int | None:
    """Return ((z + z_0.8) * deviation / distance)^2 lines (Julious 2004); None where there is no distance."""
    if abs(distance) <= ROUNDING * max(deviation, 1.0):
        return None
    return max(1, math.ceil(((_z(level) + _Z_POWER) * deviation / distance) ** 2))


def _search(power: Callable[[int], float], start: int | None) -> int | None:
    """Return the first number of lines with 80 % power, in steps of a fortieth, up or down from ``start``."""
    if start is None or start > _FORMULA:
        return start
    n = start
    if power(n) >= POWER:
        while n > 1 and power(fewer := n - max(1, n // _STEPS)) >= POWER:
            n = fewer
        return n
    while power(n) < POWER:
        n += max(1, n // _STEPS)
    return n


def _least_effect(power: Callable[[float], float], largest: float, guess: float) -> float | None:
    """Return from which effect on the power is 80 %, to four digits; None where it is not even at the ``largest``."""
    too_small, enough = 0.0, min(largest, guess)
    while power(enough) < POWER:
        if enough >= largest:
            return None
        too_small, enough = enough, min(largest, 2 * enough)
    while enough - too_small > 1e-5 * enough:
        middle = (too_small + enough) / 2
        too_small, enough = (too_small, middle) if power(middle) >= POWER else (middle, enough)
    return enough
