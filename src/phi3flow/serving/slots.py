"""Keys and values of the conversations in flight, and the attention over them.

A batch must not change an answer, although a sum of floats depends on the order in which a kernel adds, and the
kernel chosen depends on the shape. So no shape here depends on who else is in flight. Short prompts are read together
in a pass of always as many rows, a longer one alone in its own length, and each attends to itself alone; a decode step
always runs all slots, taken or not; and a row's attention runs over its own length rounded up to a power of two,
together with the rows that round to the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SHORTEST_SPAN = 64


class SlotCache:
    """Keys [slots, heads, head size, capacity] and values [slots, heads, capacity, head size] of every layer.

    Keys lie transposed, as the product with a query wants them. ``capacity`` (tokens a slot) starts at nothing and
    doubles when a longer conversation joins, so that a short chat does not pay for the whole context. ``window``:
    how many of the latest tokens a token sees, itself included; None sees all.
    """

    def __init__(
        self, *, layers: int, slots: int, heads: int, head_size: int, window: int | None, like: Tensor
    ) -> None:
        self.slots = slots
        self.window = window
        self.scale = head_size**-0.5
        self.every_slot = torch.arange(slots, device=like.device)
        self.capacity = 0
        self.keys = [like.new_zeros(slots, heads, head_size, 0) for _ in range(layers)]
        self.values = [like.new_zeros(slots, heads, 0, head_size) for _ in range(layers)]

    def reserve(self, tokens: int) -> None:
        """Make room for a conversation of so many tokens in every slot. Raises torch.OutOfMemoryError."""
        if tokens <= self.capacity:
            return
        capacity = span(tokens)
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            added = capacity - keys.shape[3]  # not self.capacity: an earlier call may have run out of memory halfway
            self.keys[layer] = torch.cat((keys, keys.new_zeros(*keys.shape[:3], added)), dim=3)
            self.values[layer] = torch.cat((values, values.new_zeros(*values.shape[:2], added, values.shape[3])), dim=2)
        self.capacity = capacity


def span(tokens: int) -> int:
    """Return the length that attention runs over for a conversation of ``tokens``: a power of two, at least 64."""
    return max(SHORTEST_SPAN, 1 << (tokens - 1).bit_length())


class Step(ABC):
    """One forward pass, as the layers' attention needs to know it."""

    @abstractmethod
    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values, and return the attention's output [rows, heads x head size].

        ``query``, ``key`` and ``value`` are [rows, heads, head size]; there may be fewer key/value heads.
        """


class Prefill(Step):
    """Read prompts into their slots: the rows are the tokens of one after the other, and rows that are not used.

    ``lengths`` has the number of tokens of each slot's prompt.
    """

    def __init__(self, cache: SlotCache, lengths: Mapping[int, int]) -> None:
        self._cache = cache
        ends = list(accumulate(lengths.values()))
        self._rows = {slot: slice(end - length, end) for (slot, length), end in zip(lengths.items(), ends, strict=True)}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See Step."""
        output = torch.zeros_like(query)
        for slot, rows in self._rows.items():
            output[rows] = self._attend(layer, slot, query[rows], key[rows], value[rows])
        return output.flatten(1)

    def _attend(self, layer: int, slot: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        cache, tokens = self._cache, len(query)
        cache.keys[layer][slot, :, :, :tokens] = key.permute(1, 2, 0)
        cache.values[layer][slot, :, :tokens] = value.transpose(0, 1)
        mask = None
        if cache.window is not None and tokens > cache.window:
            mask = query.new_ones(tokens, tokens, dtype=torch.bool).tril().triu(1 - cache.window)
        attended = scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            attn_mask=mask,
            is_causal=mask is None,
            scale=cache.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return attended[0].transpose(0, 1)


class Decode(Step):
    """One more token for every slot: slot s is at position ``positions[s]`` where it is taken, unused elsewhere."""

    def __init__(self, cache: SlotCache, positions: Mapping[int, int]) -> None:
        self._cache = cache
        dense = [positions.get(slot, 0) for slot in range(cache.slots)]
        self.positions = torch.tensor(dense, device=cache.every_slot.device)
        self._groups = self._group(positions)

    def _group(self, positions: Mapping[int, int]) -> list[_Group]:
        spans = defaultdict(list)
        for slot, position in positions.items():
            spans[span(position + 1)].append(slot)
        if len(spans) == 1:  # slots are taken from the first on, so that this leaves few idle ones inside
            [length] = spans
            return [_Group(self._cache, None, self.positions[: max(positions) + 1], length)]
        groups = [(torch.tensor(slots, device=self.positions.device), length) for length, slots in spans.items()]
        return [_Group(self._cache, rows, self.positions[rows], length) for rows, length in groups]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See Step."""
        every, keys, values = self._cache.every_slot, self._cache.keys[layer], self._cache.values[layer]
        keys[every, :, :, self.positions] = key
        values[every, :, self.positions] = value
        output = torch.zeros_like(query)
        for group in self._groups:
            group.attend(query, keys, values, output)
        return output.flatten(1)


class _Group:
    """Slots whose attention runs over the same span: those in ``rows``, or the first ones where it is None.

    The first ones are views, which spares copying their keys and values.
    """

    def __init__(self, cache: SlotCache, rows: Tensor | None, positions: Tensor, span: int) -> None:
        self._cache = cache
        self._rows = rows
        self._size = len(positions)
        self._span = span
        self._bias = self._mask(positions[:, None])

    def _mask(self, last: Tensor) -> Tensor:
        """Return 0 for the positions that each row sees and -inf for the others, [rows x heads, 1, span]."""
        positions = torch.arange(self._span, device=last.device)
        seen = positions <= last
        if self._cache.window is not None:
            seen &= positions > last - self._cache.window
        keys = self._cache.keys[0]
        bias = keys.new_zeros(seen.shape).masked_fill(~seen, float("-inf"))
        return bias.repeat_interleave(keys.shape[1], dim=0)[:, None]

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, output: Tensor) -> None:
        """Write the group's rows of ``output``; query heads that share a key head are rows of one product."""
        query, key, value = (
            self._select(tensor) for tensor in (query, keys[..., : self._span], values[:, :, : self._span])
        )
        queries = query.reshape(len(self._bias), -1, query.shape[-1])
        scores = torch.baddbmm(self._bias, queries, key.flatten(0, 1), alpha=self._cache.scale)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        attended = torch.bmm(weights, value.flatten(0, 1)).view(query.shape)
        if self._rows is None:
            output[: self._size] = attended
        else:
            output.index_copy_(0, self._rows, attended)

    def _select(self, tensor: Tensor) -> Tensor:
        return tensor[: self._size] if self._rows is None else tensor.index_select(0, self._rows)
