"""Keys and values of the conversations in flight, and the attention over them.

A batch must not change an answer, although a sum of floats depends on the order in which a kernel adds, and the
kernel chosen depends on the shape. So no shape here depends on who else is in flight: a prompt is read alone,
in its own length; a decode step always runs all slots, taken or not; and a row's attention runs over its own
length rounded up to a power of two, together with the rows that round to the same.

transformers calls ``attend`` inside every layer through its AttentionInterface; what it needs to know of the step
travels as the keyword argument ``step`` of the model's forward pass (vLLM's transformers backend does the same).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ATTENTION = "phi3flow_slots"
SHORTEST_SPAN = 64


def register_attention() -> None:
    """Make ``attn_implementation="phi3flow_slots"`` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)


class SlotCache:
    """Keys and values, one tensor of each a layer: [slots, key/value heads, capacity, head size].

    ``capacity`` (tokens a slot) starts at nothing and doubles when a longer conversation joins, so that a short
    chat does not pay for the whole context.
    """

    def __init__(self, config: Any, *, slots: int, device: torch.device, dtype: torch.dtype) -> None:
        self.slots = slots
        self.capacity = 0
        self.heads = config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        empty = torch.empty(slots, self.heads, 0, self.head_size, device=device, dtype=dtype)
        self.keys = [empty] * config.num_hidden_layers
        self.values = [empty] * config.num_hidden_layers
        self.every_slot = torch.arange(slots, device=device)

    def reserve(self, tokens: int) -> None:
        """Make room for a conversation of so many tokens in every slot. Raises torch.OutOfMemoryError."""
        if tokens <= self.capacity:
            return
        self.capacity = span(tokens)
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                grown = tensor.new_zeros(self.slots, self.heads, self.capacity, self.head_size)
                grown[:, :, : tensor.shape[2]] = tensor
                tensors[layer] = grown


def span(tokens: int) -> int:
    """Return the length that attention runs over for a conversation of ``tokens``: a power of two, at least 64."""
    return max(SHORTEST_SPAN, 1 << (tokens - 1).bit_length())


class Step(ABC):
    """One forward pass, as the layers' attention needs to know it."""

    @abstractmethod
    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float, window: int | None
    ) -> Tensor:
        """Store keys and values, and return the attention's output [rows, heads, tokens, head size].

        ``window``: how many of the latest tokens a token sees, itself included; None sees all.
        """


class Prefill(Step):
    """Read one prompt into ``slot``: one row, all its tokens."""

    def __init__(self, cache: SlotCache, slot: int) -> None:
        self._cache = cache
        self._slot = slot

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float, window: int | None
    ) -> Tensor:
        """See Step."""
        tokens = key.shape[2]
        self._cache.keys[layer][self._slot, :, :tokens] = key[0]
        self._cache.values[layer][self._slot, :, :tokens] = value[0]
        mask = None
        if window is not None and tokens > window:
            mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril().triu(1 - window)
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=_is_gqa(query, key)
        )


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
        device = self.positions.device
        if len(spans) == 1:  # slots are taken from the first on, so that this leaves few idle ones inside
            rows = range(max(positions) + 1)
            return [_Group(None, self.positions[: len(rows)], length) for length in spans]
        groups = [(torch.tensor(slots, device=device), length) for length, slots in spans.items()]
        return [_Group(rows, self.positions[rows], length) for rows, length in groups]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float, window: int | None
    ) -> Tensor:
        """See Step."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._cache.every_slot, :, self.positions] = key[:, :, 0]
        values[self._cache.every_slot, :, self.positions] = value[:, :, 0]
        output = torch.zeros_like(query)
        for group in self._groups:
            attended = scaled_dot_product_attention(
                group.select(query),
                group.select(keys[:, :, : group.span]),
                group.select(values[:, :, : group.span]),
                attn_mask=group.mask(window),
                scale=scale,
                enable_gqa=_is_gqa(query, key),
            )
            group.place(attended, output)
        return output


class _Group:
    """Slots whose attention runs over the same span: those in ``rows``, or the first ones where it is None.

    The first ones are views, which spares copying their keys and values.
    """

    def __init__(self, rows: Tensor | None, positions: Tensor, span: int) -> None:
        self.span = span
        self._rows = rows
        self._positions = positions
        self._masks: dict[int | None, Tensor] = {}

    def select(self, tensor: Tensor) -> Tensor:
        """Return the group's rows of a tensor of all slots."""
        return tensor[: len(self._positions)] if self._rows is None else tensor.index_select(0, self._rows)

    def place(self, rows: Tensor, output: Tensor) -> None:
        """Write the group's rows where they belong among all slots."""
        if self._rows is None:
            output[: len(self._positions)] = rows
        else:
            output.index_copy_(0, self._rows, rows)

    def mask(self, window: int | None) -> Tensor:
        """Return what each row sees, [rows, 1, 1, span]; the same for all layers with one window."""
        if window not in self._masks:
            last = self._positions[:, None]
            places = torch.arange(self.span, device=last.device)
            seen = places <= last
            if window is not None:
                seen &= places > last - window
            self._masks[window] = seen[:, None, None]
        return self._masks[window]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    step: Step,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Be the attention function of transformers' interface: heads second in, tokens second out."""
    layer: int = module.layer_idx  # type: ignore[assignment]  # set by transformers on every attention module
    output = step.attend(layer, query, key, value, scale=scaling, window=sliding_window)
    return output.transpose(1, 2).contiguous(), None


def _is_gqa(query: Tensor, key: Tensor) -> bool:
    return query.shape[1] != key.shape[1]
