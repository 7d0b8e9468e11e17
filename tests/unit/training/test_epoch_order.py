"""The order of the examples, which seed and epoch decide."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st


@given(
    lengths=st.lists(st.integers(1, 500), max_size=300),
    batch_size=st.integers(1, 16),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_every_example_comes_once_an_epoch_in_an_order_of_its_own(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    from phi3flow.training.epoch_order import EpochOrder

    def order(of_epoch: int) -> list[int]:
        buckets = EpochOrder(lengths, batch_size=batch_size, seed=seed)
        buckets.set_epoch(of_epoch)
        return list(buckets)

    random.seed(seed)
    first = order(epoch)
    random.seed(seed + 1)
    assert sorted(first) == list(range(len(lengths)))
    assert order(epoch) == first
    if len(lengths) > 100 and batch_size < 16:
        assert order(epoch + 1) != first


@given(n_always=st.integers(0, 50), n_rehearsal=st.integers(0, 50), epochs=st.integers(1, 6))
def test_the_rehearsal_is_shared_out_among_the_epochs(n_always: int, n_rehearsal: int, epochs: int) -> None:
    from phi3flow.training.epoch_order import EpochOrder

    order = EpochOrder([5] * (n_always + n_rehearsal), n_rehearsal=n_rehearsal, epochs=epochs, batch_size=4, seed=0)
    seen: list[int] = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        indices = list(order)
        assert len(indices) == len(order)
        assert set(range(n_always)) <= set(indices)
        seen += [index for index in indices if index >= n_always]
    assert len(seen) == len(set(seen)) == n_rehearsal // epochs * epochs


def test_batches_hold_examples_of_like_length() -> None:
    from phi3flow.training.epoch_order import EpochOrder

    lengths = [random.Random(number).randrange(10, 200) for number in range(805)]
    order = list(EpochOrder(lengths, batch_size=8, seed=0))
    batches = [[lengths[index] for index in order[start : start + 8]] for start in range(0, len(order), 8)]
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in batches) / sum(lengths)
    assert padding < 0.05
