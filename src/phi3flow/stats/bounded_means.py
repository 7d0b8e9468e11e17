"""The mean of values that cannot leave a range: its interval and test, which lines that nobody saw cannot overturn.

Arrays of any shape, lines on the last axis, so that what simulates the method is the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.estimates import ALPHA, Clusters, Floats, degrees_of_freedom, sum_by_cluster

# Weights of a pseudo value where values scatter little and where they do, as shares of the range: the least that keep
# one-sided errors within 3 % where few lines differ, and the width of scattered ones within 1.1 times Student's.
_HEAVY, _LIGHT = 1.3, 0.5
_LITTLE, _MUCH = 0.15, 0.25


@dataclass(frozen=True)
class BoundedMean:
    """Means with what their intervals are made of; ``skewness`` is the mean's own, sum u^3 / (sum u^2)^1.5."""

    mean: Floats
    se: Floats
    df: Floats
    skewness: Floats
    ends: ScoreRange

    def interval(self, level: float = ALPHA) -> tuple[Floats, Floats]:
        """Return the interval at 1 - ``level``: the means whose corrected t lies within Student's quantiles."""
        quantile = special.stdtrit(self.df, 1 - level / 2)
        low = self.mean - self.se * _uncorrected(quantile, self.skewness)
        high = self.mean - self.se * _uncorrected(-quantile, self.skewness)
        return np.maximum(low, self.ends[0]), np.minimum(high, self.ends[1])

    def p(self) -> Floats:
        """Return the two-sided p against a mean of 0: below a level just where that level's interval excludes 0."""
        return np.asarray(2 * special.stdtr(self.df, -np.abs(_corrected(self.mean / self.se, self.skewness))))


def infer_bounded_mean(values: Floats, clusters: Clusters | None, ends: ScoreRange, *, width: float) -> BoundedMean:
    """Infer the mean of values between ``ends``, by the lines of a sample and a pseudo value at each end.

    The sample shows how the values that it has scatter; the pseudo values stand for rare ones that it may lack, so
    that no interval has width zero. They move error, degrees of freedom and skewness, not the mean, and weigh as much
    as 1.3 lines where the standard deviation is below 0.15 of ``width``, 0.5 from 0.25 on. For skewness t is corrected
    by Hall's cubic (Hall 1992, J. Royal Statistical Society B 54:221), which a few long clusters cannot estimate: it
    counts as far as the degrees of freedom go. By cluster the error is CR2, a pseudo value is a cluster of mean length.
    """
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    residuals, lengths = values - mean[..., None], np.ones(n)
    if clusters is not None:
        residuals, lengths = sum_by_cluster(residuals, clusters), np.bincount(clusters).astype(float)
    count = len(lengths)
    variance = (np.square(residuals) / lengths).sum(axis=-1) / n * count / max(count - 1, 1)
    weight = pseudo_weight(np.sqrt(variance) / width)

    length = n / count
    lines = n + 2 * weight * length
    weights = np.ones((*mean.shape, count + 2))
    weights[..., count:] = weight[..., None]
    beyond = [length * (end - mean)[..., None] for end in ends]
    sums = np.concatenate([residuals, *beyond], axis=-1)
    shares = np.append(lengths, [length, length]) / lines[..., None]

    squares = weights * np.square(sums)
    df = degrees_of_freedom(shares, weights)
    skewness = (squares * sums).sum(axis=-1) / squares.sum(axis=-1) ** 1.5
    return BoundedMean(
        mean=mean,
        se=np.sqrt((squares / (1 - shares)).sum(axis=-1)) / lines,
        df=df,
        skewness=skewness * np.minimum(1.0, df / (count - 1 + 2 * weight)),
        ends=ends,
    )


def pseudo_weight(scatter: Floats) -> Floats:
    """Return how many lines a pseudo value weighs, by the standard deviation as a share of the range's width."""
    return np.asarray(_HEAVY + (_LIGHT - _HEAVY) * np.clip((scatter - _LITTLE) / (_MUCH - _LITTLE), 0, 1))


def _corrected(t: Floats, skewness: Floats) -> Floats:
    """Return Hall's t + b t^2 / 3 + b^2 t^3 / 27 + b / 6, which rises with t."""
    return np.asarray(t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6)


def _uncorrected(corrected: Floats, skewness: Floats) -> Floats:
    """Return the t that Hall's cubic makes ``corrected``."""
    exact = np.abs(skewness) > 1e-6  # below, the cube root of 1 + x is lost in rounding
    b = np.where(exact, skewness, 1.0)
    root = 3 / b * (np.cbrt(1 + b * (corrected - b / 6)) - 1)
    return np.where(exact, root, corrected - skewness * (corrected**2 / 3 + 1 / 6))
