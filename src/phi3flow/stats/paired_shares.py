"""Two runs' 0/1 scores of the same lines: what the numbers of wins and losses say of their difference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from phi3flow.stats.estimates import ALPHA, Floats


def tango_statistic(wins: ArrayLike, losses: ArrayLike, n: int, difference: ArrayLike) -> Floats:
    """Return the score statistic of (wins - losses) / n against the assumed ``difference``, standard normal under it.

    It falls as the assumed difference grows, and rises with the wins (Tango 1998, section 3).
    """
    b, c, assumed = (np.asarray(value, dtype=float) for value in (wins, losses, difference))
    linear = (2 * n - b + c) * assumed - b - c
    constant = -c * assumed * (1 - assumed)
    loss_share = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * (2 * loss_share + assumed * (1 - assumed))
    distance = b - c - n * assumed
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / np.sqrt(np.maximum(variance, 0)))


def tango_interval(wins: ArrayLike, losses: ArrayLike, n: int, level: float = ALPHA) -> tuple[Floats, Floats]:
    """Return Tango's score interval of (wins - losses) / n, the paired difference of two 0/1 scores.

    The bounds are where the score statistic equals the normal quantile; bisection finds them.
    """
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    estimate, quantile = (b - c) / n, special.ndtri(1 - level / 2)

    def solve(inner: Floats, outer: Floats) -> Floats:
        for _ in range(60):
            middle = (inner + outer) / 2
            inside = np.abs(tango_statistic(b, c, n, middle)) <= quantile
            inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
        return np.asarray((inner + outer) / 2)

    return solve(estimate, np.full_like(estimate, -1.0)), solve(estimate, np.full_like(estimate, 1.0))


def mcnemar_mid_p(wins: ArrayLike, losses: ArrayLike) -> Floats:
    """Return the two-sided mid-p of the McNemar test; 1 where no line differs (Fagerland et al. 2013)."""
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    trials, fewer = b + c, np.minimum(b, c)
    log_chance = special.gammaln(trials + 1) - special.gammaln(b + 1) - special.gammaln(c + 1)
    chance = np.exp(log_chance - trials * math.log(2))
    below = special.bdtr(fewer, trials.astype(int), 0.5)
    return np.where(trials == 0, 1.0, np.where(b == c, 1 - chance / 2, 2 * below - chance))
