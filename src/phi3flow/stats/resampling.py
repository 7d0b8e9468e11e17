"""Resampling: sign flips, swaps and bootstrap draws, each by cluster, none slower than it has to be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.stats.estimates import ROUNDING, Clusters, Floats, sum_by_cluster

DRAWS = 10_000

_BYTE = 8
_CHUNK = 2**23  # numbers held at once: fewer slow the products down, more take memory
_POISSON = np.round(special.pdtr(np.arange(8), 1.0) * 2**16).astype(np.uint16)


def sign_flip_p(
    differences: ArrayLike, *, rng: np.random.Generator, clusters: Clusters | None = None, draws: int = DRAWS
) -> float:
    """Return the two-sided p of the sign-flip permutation test: each cluster's sum keeps or changes its sign.

    Exact where all sign patterns are no more than ``draws``; else by ``draws`` random ones, the observed one
    counted among them (Phipson and Smyth 2010), so that p is never 0.
    """
    values = np.asarray(differences, dtype=float)
    sums = values if clusters is None else sum_by_cluster(values, clusters)
    sums = sums[np.abs(sums) > ROUNDING * np.abs(values).max()]
    total = sums.sum()
    least = abs(total) - ROUNDING * np.abs(sums).sum()
    if 2 ** len(sums) <= draws:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs(2 * (patterns @ sums) - total) >= least).mean())
    extreme = int((np.abs(2 * _random_subset_sums(sums, rng, draws) - total) >= least).sum())
    return (extreme + 1) / (draws + 1)


def swapped_sums(as_is: Floats, swapped: Floats, *, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield totals, (rows, K), of statistics of which each cluster's are ``swapped`` or not, by a coin.

    ``as_is`` and ``swapped`` are (C, K). All rows together are ``draws``.
    """
    moved, total = _single(swapped - as_is), as_is.sum(axis=0)
    width = -(-len(moved) // _BYTE)
    for rows in _chunks(draws, len(moved)):
        random = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield total + np.unpackbits(random, axis=1, count=len(moved)).astype(np.float32) @ moved


def bootstrap_sums(statistics: Floats, *, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield totals, (rows, K), of the clusters' statistics, (C, K), each counted as often as it was drawn.

    How often is a Poisson number of mean 1, independently for each cluster (Chamandy et al. 2012): a multinomial one
    but for the total, which matters to no metric that is a ratio of sums, and five times as fast.
    """
    count, single = len(statistics), _single(statistics)
    for rows in _chunks(draws, count):
        times = _poisson(rng, rows, count)
        while not (drawn := times.any(axis=1)).all():  # of very few clusters all may be left out
            times[~drawn] = _poisson(rng, int((~drawn).sum()), count)
        yield (times.astype(np.float32) @ single).astype(float)


def _poisson(rng: np.random.Generator, rows: int, count: int) -> NDArray[np.uint8]:
    """Return Poisson numbers of mean 1, by comparing 16 random bits with the cumulative probabilities."""
    words = rng.integers(0, 2**64, -(-rows * count // 4), dtype=np.uint64)
    random = words.view(np.uint16)[: rows * count].reshape(rows, count)
    times = np.zeros((rows, count), dtype=np.uint8)
    for threshold in _POISSON:
        times += (random >= threshold).view(np.uint8)
    return times


def _single(statistics: Floats) -> NDArray[np.float32]:
    """Return single precision, which is twice as fast: counts are whole and small, and resampling is not exact."""
    return statistics.astype(np.float32)


def _chunks(draws: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK // width)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _random_subset_sums(values: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Return the sums of ``draws`` random subsets: eight values at a time, from tables of their 256 sums."""
    groups = -(-len(values) // _BYTE)
    padded = np.zeros(groups * _BYTE)
    padded[: len(values)] = values
    bits = np.arange(256)[:, None] >> np.arange(_BYTE) & 1
    tables = padded.reshape(groups, _BYTE) @ bits.T
    sums = np.zeros(draws)
    for table in tables:
        sums += table[np.frombuffer(rng.bytes(draws), dtype=np.uint8)]
    return sums
