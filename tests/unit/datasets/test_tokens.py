"""Token counts: as the cookbook counts them, with their statistics."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phi3flow.datasets.tokens import example_tokens, histogram, statistics
from tests.support.chats import message


def test_tokens_are_counted_as_the_cookbook_counts_them() -> None:
    row = {"messages": [{"role": "user", "content": "one two", "name": "ann"}, message("assistant", "three")]}
    words = example_tokens(row, lambda text: len(text.split()))
    assert words == 3 + (3 + 1 + 1 + 2 + 1) + (3 + 1 + 1)


def test_statistics_of_tokens_interpolate_quantiles() -> None:
    found = statistics(range(1, 102))
    assert found is not None
    assert found.model_dump() == {
        "n": 101, "min": 1, "max": 101, "mean": 51.0, "median": 51.0, "p5": 6.0, "p95": 96.0,
    }  # fmt: skip
    assert statistics([]) is None


@given(st.lists(st.integers(0, 5000)))
def test_a_histogram_holds_every_count_once(counts: list[int]) -> None:
    bins = histogram(counts)
    assert len(bins) <= 10
    assert [sum(each.low <= count <= each.high for count in counts) for each in bins] == [b.count for b in bins]
    assert sum(each.count for each in bins) == len(counts)
