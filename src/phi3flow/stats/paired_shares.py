"""Two runs' 0/1 scores of the same lines: what the numbers of wins and losses say of their difference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.stats.estimates import ALPHA, Floats

_OUTSIDE, _GRID = 0.001, 40  # shares of losses: what their interval leaves out, how many of it are tried
_TAIL = 9.0  # standard deviations beyond which outcomes have no chance
_TIE = 1e-9  # score statistics that differ by less differ by rounding


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


def share_difference_tail(wins: int, losses: int, n: int, margin: float) -> float:
    """Return the chance of a score statistic against ``margin`` as high as this one's, where that is the difference.

    The exact unconditional test of Hsueh, Liu and Chen (2001, Biometrics 57:478): the largest chance over the shares
    of losses in their 99.9 % interval, plus 0.001 for those outside of it (Berger and Boos 1994, JASA 89:1012). The
    bound of Tango's interval that is nearer to 0 errs in up to 0.043 of all samples where 0.025 is meant.
    """
    least = special.betaincinv(max(losses, 1), n - max(losses, 1) + 1, _OUTSIDE / 2) if losses else 0.0
    most = special.betaincinv(losses + 1, n - losses, 1 - _OUTSIDE / 2) if losses < n else 1.0
    shares = np.linspace(least, max(least, min(most, (1 - margin) / 2)), _GRID)
    reach = _TAIL * math.sqrt(n * most * (1 - most)) + _TAIL
    lost = np.arange(max(0, math.floor(n * least - reach)), min(n, math.ceil(n * most + reach)) + 1)
    enough = least_wins(n, lost, margin, float(tango_statistic(wins, losses, n, margin)) - _TIE)[:, None]
    chance = np.minimum((shares + margin) / (1 - shares), 1.0)
    beyond = special.bdtrc(enough - 1.0, n - lost[:, None], chance)
    return float((binomial(n, lost[:, None], shares) * beyond).sum(axis=0).max()) + _OUTSIDE


def least_wins(n: int, lost: NDArray[np.intp], difference: float, statistic: float) -> NDArray[np.intp]:
    """Return from how many wins on the score statistic is at least ``statistic``, for each number of losses.

    n - losses + 1 where no number of wins reaches it.
    """
    too_few, enough = np.full_like(lost, -1), n - lost + 1
    while (enough - too_few > 1).any():
        middle = (too_few + enough) // 2
        reaches = (tango_statistic(np.maximum(middle, 0), lost, n, difference) >= statistic) & (middle >= 0)
        too_few, enough = np.where(reaches, too_few, middle), np.where(reaches, middle, enough)
    return enough


def binomial(n: int, count: ArrayLike, share: ArrayLike) -> Floats:
    """Return the chance of each ``count`` in ``n`` trials of a true ``share``."""
    hits, chance = np.asarray(count, dtype=float), np.asarray(share, dtype=float)
    log_chance = special.gammaln(n + 1) - special.gammaln(hits + 1) - special.gammaln(n - hits + 1)
    return np.asarray(np.exp(log_chance + special.xlogy(hits, chance) + special.xlog1py(n - hits, -chance)))


def mcnemar_mid_p(wins: ArrayLike, losses: ArrayLike) -> Floats:
    """Return the two-sided mid-p of the McNemar test; 1 where no line differs (Fagerland et al. 2013)."""
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    trials, fewer = b + c, np.minimum(b, c)
    log_chance = special.gammaln(trials + 1) - special.gammaln(b + 1) - special.gammaln(c + 1)
    chance = np.exp(log_chance - trials * math.log(2))
    below = special.bdtr(fewer, trials.astype(int), 0.5)
    return np.where(trials == 0, 1.0, np.where(b == c, 1 - chance / 2, 2 * below - chance))
