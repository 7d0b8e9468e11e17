"""The mean of values that cannot leave a range: its interval and test, which lines that nobody saw cannot overturn.

Arrays of any shape, lines on the last axis, so that what simulates the method is the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from phi3flow.records.scores import ScoreRange
from phi3flow.stats.estimates import (
    ALPHA,
    Clusters,
    Floats,
    degrees_of_freedom,
    exchangeable_variance,
    sum_by_cluster,
)

# Weights of a pseudo value where values scatter little and where they do, as shares of the range. The first keeps
# one-sided errors within 3 % where some lines, however many, lose it all and the others nothing: of n lines none shows
# it while 3.5 / n lose. The second keeps the width of scattered ones within 1.1 times Student's.
_HEAVY, _LIGHT = 1.6, 0.5
_LITTLE, _MUCH = 0.15, 0.25
_SLOPE = 2.0  # of the corrected t beyond the cubic's point of inflection
_NO_SKEWNESS = 1e-6  # what is below is too small to divide by


@dataclass(frozen=True)
class BoundedMean:
    """Means with what their intervals are made of.

    The errors are those by which the lower bound and the upper one are away; each ``skewness`` is the mean's own,
    sum u^3 / (sum u^2)^1.5: of several, that counts which puts a bound further out.
    """

    mean: Floats
    se_low: Floats
    se_high: Floats
    df: Floats
    skewness: tuple[Floats, ...]
    ends: ScoreRange

    def interval(self, level: float = ALPHA) -> tuple[Floats, Floats]:
        """Return the interval at 1 - ``level``: the means whose corrected t lies within Student's quantiles."""
        quantile = special.stdtrit(self.df, 1 - level / 2)
        above = np.max([_uncorrected(quantile, skewness) for skewness in self.skewness], axis=0)
        below = np.min([_uncorrected(-quantile, skewness) for skewness in self.skewness], axis=0)
        low, high = self.mean - self.se_low * above, self.mean - self.se_high * below
        return np.maximum(low, self.ends[0]), np.minimum(high, self.ends[1])

    def p(self) -> Floats:
        """Return the two-sided p against a mean of 0: below a level just where that level's interval excludes 0."""
        t = self.mean / np.where(self.mean > 0, self.se_low, self.se_high)
        least = np.min([np.abs(_corrected(t, skewness)) for skewness in self.skewness], axis=0)
        return np.asarray(2 * special.stdtr(self.df, -least))


@dataclass(frozen=True)
class Sums:
    """What a mean of ``n`` lines is inferred from: the ``residuals`` of its clusters, summed, (..., C), by ``lengths``.

    ``lengths``, (C,), add up to ``n``; where every line is its own cluster they are one, (1,). ``variance`` is the
    least that the sum of all has, by ``exchangeable_variance``.
    """

    mean: Floats
    residuals: Floats
    lengths: Floats
    n: float
    clustered: bool
    variance: Floats | float = 0.0

    @classmethod
    def of(cls, values: Floats, clusters: Clusters | None) -> Sums:
        mean = values.mean(axis=-1)
        residuals, n = values - mean[..., None], values.shape[-1]
        if clusters is None:
            return cls(mean, residuals, np.ones(1), n, clustered=False)
        sums, lengths = sum_by_cluster(residuals, clusters), np.bincount(clusters).astype(float)
        variance = exchangeable_variance(residuals, sums, lengths) if len(lengths) > 1 else 0.0
        return cls(mean, sums, lengths, n, clustered=True, variance=variance)


def infer_bounded_mean(values: Floats, clusters: Clusters | None, ends: ScoreRange) -> BoundedMean:
    """Infer the mean of scores between ``ends``, by the lines of a sample and a pseudo score at each end.

    The sample shows how the scores that it has scatter; the pseudo scores stand for rare ones that it may lack, so
    that no interval has width zero. They move error, degrees of freedom and skewness, not the mean, and weigh as much
    as 1.6 lines where the standard deviation is below 0.15 of the range, 0.5 from 0.25 on. For skewness t is corrected
    by Hall's cubic (Hall 1992, J. Royal Statistical Society B 54:221). By cluster the variance is CR2's, or that of
    clusters that scatter alike (``exchangeable_variance``) where it is greater, the skewness for either bound the
    sample's or likewise that of clusters that are alike, whichever puts it further out, and a pseudo score is a cluster
    of mean length. A few long clusters cannot estimate skewness: it counts by the square of the share of degrees of
    freedom that they leave.
    """
    return infer_bounded(Sums.of(values, clusters), ends, width=ends[1] - ends[0], are_differences=False)


def infer_bounded_difference(values: Floats, clusters: Clusters | None, width: float) -> BoundedMean:
    """Infer the mean difference of scores whose range has this ``width``, likewise.

    A rare line may win or lose it all. Either bound counts both pseudo differences at its own end, -width or width, and
    no skewness of them: of lines that all gain y the lower one leaves room for losses of 1 + y, not 1. By cluster they
    weigh 1 at least.
    """
    return infer_bounded(Sums.of(values, clusters), (-width, width), width=width, are_differences=True)


def pseudo_weight(scatter: Floats, *, least: float = 0.0) -> Floats:
    """Return how many lines a pseudo value weighs, by the standard deviation as a share of the range's width."""
    weight = _HEAVY + (_LIGHT - _HEAVY) * np.clip((scatter - _LITTLE) / (_MUCH - _LITTLE), 0, 1)
    return np.asarray(np.maximum(weight, least))


LEAST_OF_CLUSTERED_DIFFERENCES = 1.0
"""The least weight of a pseudo difference where lines share conversations: their sums scatter more than lines do."""


def infer_bounded(sums: Sums, ends: ScoreRange, *, width: float, are_differences: bool) -> BoundedMean:
    """Infer a mean from the sums of its clusters; ``infer_bounded_mean`` and ``infer_bounded_difference`` say how."""
    squares = np.square(sums.residuals)
    count, length = sums.residuals.shape[-1], sums.n / sums.residuals.shape[-1]
    alike = count / len(sums.lengths)  # of lines that are no clusters all lengths are alike
    scatter = np.sqrt((squares / sums.lengths).sum(axis=-1) / sums.n * count / max(count - 1, 1)) / width
    weight = pseudo_weight(scatter, least=LEAST_OF_CLUSTERED_DIFFERENCES if sums.clustered and are_differences else 0.0)

    lines = sums.n + 2 * weight * length
    shares = np.append(sums.lengths, [length, length]) / lines[..., None]
    weights = np.broadcast_to(weight[..., None], (*sums.mean.shape, len(sums.lengths) + 2)).copy()
    weights[..., :-2] = alike
    df = degrees_of_freedom(shares, weights)

    low, high = (length * (end - sums.mean) for end in ends)
    pseudo_second, pseudo_third = weight * (low**2 + high**2), weight * (low**3 + high**3)
    of_ends = (2 * weight * low**2, 2 * weight * high**2) if are_differences else (pseudo_second, pseudo_second)
    adjusted = np.maximum((squares / (1 - shares[..., :-2])).sum(axis=-1), sums.variance)
    se_low, se_high = (np.sqrt(adjusted + of_end / (1 - shares[..., -1])) / lines for of_end in of_ends)

    damping, second = np.minimum(1.0, df / (count - 1 + 2 * weight)) ** 2, squares.sum(axis=-1) + pseudo_second
    thirds = (damping * third + (0.0 if are_differences else pseudo_third) for third in _thirds(sums))
    return BoundedMean(sums.mean, se_low, se_high, df, tuple(third / second**1.5 for third in thirds), ends)


def _thirds(sums: Sums) -> list[Floats]:
    """Return the third moment of the sum by the clusters' own sums, and where clusters of any length are alike.

    The latter is by their means, each of which counts once.
    """
    own = (sums.residuals**3).sum(axis=-1)
    if not sums.clustered:
        return [own]
    means = sums.residuals / sums.lengths
    return [own, ((means - means.mean(axis=-1)[..., None]) ** 3).mean(axis=-1) * (sums.lengths**3).sum()]


def _corrected(t: Floats, skewness: Floats) -> Floats:
    """Return Hall's t + b t^2 / 3 + b^2 t^3 / 27 + b / 6 up to its point of inflection, and a line of slope 2 beyond.

    It rises with t. The cubic stands still at that point: the interval of ten scores of 0.1 would end at 0.70, the line
    ends it at 0.45, and an exact one, of scores that are 0.1 or rarely 1, at 0.38.
    """
    sign, b = np.where(skewness < 0, -1.0, 1.0), np.abs(skewness)
    mirrored = sign * t
    cubic = mirrored + b * mirrored**2 / 3 + b**2 * mirrored**3 / 27 + b / 6
    inflection = -3 / np.maximum(b, _NO_SKEWNESS)
    beyond = _SLOPE * (mirrored - inflection) + inflection / 3 + b / 6
    return np.asarray(sign * np.where(mirrored < inflection, beyond, cubic))


def _uncorrected(corrected: Floats, skewness: Floats) -> Floats:
    """Return the t that ``_corrected`` makes ``corrected``."""
    sign, b = np.where(skewness < 0, -1.0, 1.0), np.abs(skewness)
    mirrored, divisor = sign * corrected, np.maximum(b, _NO_SKEWNESS)
    inflection = -3 / divisor
    excess = mirrored - inflection / 3 - b / 6
    inverse = np.where(excess < 0, excess / _SLOPE, 3 / divisor * np.cbrt(np.maximum(b * excess, 0))) + inflection
    return np.asarray(sign * np.where(b > _NO_SKEWNESS, inverse, mirrored - b * (mirrored**2 / 3 + 1 / 6)))
