"""Resampling: sign flips, swaps and bootstrap draws, each by cluster, none slower than it has to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from phi3flow.stats.estimates import ROUNDING, Clusters, Floats, sum_by_cluster

DRAWS = 10_000

_BYTE = 8
_CHUNK = 2**23  # numbers held at once: fewer slow the products down, more take memory
_EXACT = 2.0**24  # up to here single precision holds every whole number
_POISSON = np.round(special.pdtr(np.arange(8), 1.0) * 2**16).astype(np.uint16)

_Block = NDArray[np.floating[Any]]


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
    count, moved, total = len(as_is), _blocks(swapped - as_is), as_is.sum(axis=0)
    width = -(-count // _BYTE)
    for rows in _chunks(draws, count):
        random = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield total + _times(np.unpackbits(random, axis=1, count=count), moved)


def bootstrap_sums(statistics: Floats, *, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield totals, (rows, K), of the clusters' statistics, (C, K), each counted as often as it was drawn.

    How often is a Poisson number of mean 1, independently for each cluster (Chamandy et al. 2012): a multinomial one
    but for the total, which matters to no metric that is a ratio of sums, and five times as fast.
    """
    count, blocks = len(statistics), _blocks(statistics)
    for rows in _chunks(draws, count):
        times = _poisson(rng, rows, count)
        while not (drawn := times.any(axis=1)).all():  # of very few clusters all may be left out
            times[~drawn] = _poisson(rng, int((~drawn).sum()), count)
        yield _times(times, blocks)


def _poisson(rng: np.random.Generator, rows: int, count: int) -> NDArray[np.uint8]:
    """Return Poisson numbers of mean 1, by comparing 16 random bits with the cumulative probabilities."""
    words = rng.integers(0, 2**64, -(-rows * count // 4), dtype=np.uint64)
    random = words.view(np.uint16)[: rows * count].reshape(rows, count)
    times = np.zeros((rows, count), dtype=np.uint8)
    for threshold in _POISSON:
        times += (random >= threshold).view(np.uint8)
    return times


def _blocks(statistics: Floats) -> Sequence[_Block]:
    """Cut the clusters into blocks whose totals single precision, which is twice as fast, holds exactly.

    Those of whole numbers, whose totals stay below 2^24 however often each is drawn. Others are one block in double.
    """
    heaviest = np.abs(statistics).max(axis=1) * len(_POISSON)
    if heaviest.max() >= _EXACT / 2 or (statistics != np.rint(statistics)).any():
        return [statistics]
    load = heaviest.cumsum()
    return np.split(statistics.astype(np.float32), np.searchsorted(load, np.arange(_EXACT / 2, load[-1], _EXACT / 2)))


def _times(times: NDArray[np.uint8], blocks: Sequence[_Block]) -> Floats:
    """Return the totals, (rows, K), of the clusters in ``blocks``, each counted as often as ``times`` says."""
    totals, start = np.zeros((len(times), blocks[0].shape[1])), 0
    factors: _Block = times.astype(blocks[0].dtype)
    for block in blocks:
        totals += factors[:, start : start + len(block)] @ block
        start += len(block)
    return totals


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
