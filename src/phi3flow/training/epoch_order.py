"""The order in which an epoch sees its examples."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

BUCKET_BATCHES = 50
"""Examples of like length are put together among so many batches, which spares padding and keeps the order random."""


class EpochOrder(Sampler[int]):
    """The examples of an epoch, as indices, in an order that ``seed`` and epoch decide.

    Each batch holds examples of like length. The last ``n_rehearsal`` indices are shared out among the epochs.
    """

    def __init__(
        self, lengths: Sequence[int], *, n_rehearsal: int = 0, epochs: int = 1, batch_size: int, seed: int
    ) -> None:
        self._lengths = lengths
        self._n_always = len(lengths) - n_rehearsal
        self._n_rehearsed = n_rehearsal // epochs
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration is for; the data loader calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n_always + self._n_rehearsed

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed}-{self._epoch}")
        first = self._n_always + self._epoch * self._n_rehearsed
        order = [*range(self._n_always), *range(first, first + self._n_rehearsed)]
        rng.shuffle(order)
        pool_size = self._batch_size * BUCKET_BATCHES
        for start in range(0, len(order), pool_size):
            yield from self._batches(order[start : start + pool_size], rng)

    def _batches(self, pool: list[int], rng: random.Random) -> Iterator[int]:
        size = self._batch_size
        by_length = sorted(pool, key=lambda index: self._lengths[index])
        n_short = len(pool) % size
        batches = [by_length[start : start + size] for start in range(n_short, len(pool), size)]
        rng.shuffle(batches)
        for batch in (*batches, by_length[:n_short]):  # the short batch last: the loader cuts where this does
            yield from batch
