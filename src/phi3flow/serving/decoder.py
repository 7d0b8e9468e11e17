"""The Phi-3 decoder as the server runs it: transformers' weights, a forward pass with few operations.

Small models spend their time on calling operations, not on computing: transformers' layers make about 65 calls
each, these about 20. A test holds the logits to those of transformers' Phi3ForCausalLM. Architecture: Phi-3 technical
report (arXiv:2404.14219), section 2; rotary positions: Su et al. 2021 (arXiv:2104.09864), section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, linalg
from torch.nn.functional import embedding, linear, rms_norm

from phi3flow.serving.slots import SlotCache, Step

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM


class Decoder:
    """The forward pass over a loaded model, for rows of tokens that may belong to different conversations."""

    def __init__(self, model: Phi3ForCausalLM, *, context_tokens: int) -> None:
        config: Any = model.config
        self._model = model
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._layers = [_Layer(layer) for layer in model.model.layers]
        self._norm = _Norm(model.model.norm)
        self._rotation = _Rotation(model, self._head_size, context_tokens)

    def new_cache(self, slots: int) -> SlotCache:
        """Return room for the keys and values of so many conversations."""
        return SlotCache(
            layers=len(self._layers),
            slots=slots,
            heads=self._kv_heads,
            head_size=self._head_size,
            window=getattr(self._model.config, "sliding_window", None),
            like=self._model.lm_head.weight,
        )

    def forward(self, tokens: Tensor, positions: Tensor, step: Step) -> Tensor:
        """Return the last layer's output, [rows, hidden], for tokens [rows] at positions [rows]."""
        cos, sin = self._rotation.at(positions)
        rotated_heads = self._heads + self._kv_heads
        hidden = embedding(tokens, self._model.model.embed_tokens.weight)
        for number, layer in enumerate(self._layers):
            heads = linear(layer.attention_norm(hidden), layer.qkv).view(len(tokens), -1, self._head_size)
            turned = self._rotation.turn(heads[:, :rotated_heads], cos, sin)
            attended = step.attend(number, turned[:, : self._heads], turned[:, self._heads :], heads[:, rotated_heads:])
            hidden = torch.addmm(hidden, attended, layer.output)
            gate, up = linear(layer.mlp_norm(hidden), layer.gate_up).chunk(2, dim=-1)
            hidden = torch.addmm(hidden, layer.activation(gate) * up, layer.down)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what follows each row, [rows, vocabulary]."""
        return linear(self._norm(hidden), self._model.lm_head.weight)


class _Layer:
    """The weights of one layer; ``output`` and ``down`` transposed (as views), as addmm wants them."""

    def __init__(self, layer: Any) -> None:
        self.attention_norm = _Norm(layer.input_layernorm)
        self.mlp_norm = _Norm(layer.post_attention_layernorm)
        self.qkv = layer.self_attn.qkv_proj.weight
        self.output = layer.self_attn.o_proj.weight.t()
        self.gate_up = layer.mlp.gate_up_proj.weight
        self.down = layer.mlp.down_proj.weight.t()
        self.activation = layer.mlp.activation_fn.forward  # it has no hooks to call


class _Norm:
    """Root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4).

    torch's rms_norm is one operation on CUDA and ten on a CPU. There, four do it: with n elements the root of the
    mean square plus epsilon is hypot(length, root of n epsilon) over the root of n.
    """

    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight
        self._epsilon: float = norm.variance_epsilon
        size = len(self._weight)
        self._scaled = self._weight * size**0.5
        self._added = self._weight.new_tensor((size * self._epsilon) ** 0.5)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the normalised rows [rows, hidden]."""
        if rows.is_cuda:
            return rms_norm(rows, self._weight.shape, self._weight, self._epsilon)
        length = linalg.vector_norm(rows, dim=-1, keepdim=True)
        return rows.div(length.hypot_(self._added)).mul_(self._scaled)


class _Rotation:
    """Rotary positions from tables: transformers computes cosine and sine once for the whole context.

    The part of a head that is not rotated (Phi-4-mini's) has cosine 1 and sine 0; the minus of the rotation by a
    quarter turn is in the sine's table.
    """

    def __init__(self, model: Phi3ForCausalLM, head_size: int, context_tokens: int) -> None:
        weight = model.lm_head.weight
        positions = torch.arange(context_tokens, device=weight.device)[None]
        cos, sin = (table[0] for table in model.model.rotary_emb(weight.new_empty(1, dtype=torch.float32), positions))
        rotated = cos.shape[-1]
        half = rotated // 2
        self._cos = cos.new_ones(context_tokens, 1, head_size)
        self._sin = sin.new_zeros(context_tokens, 1, head_size)
        self._cos[:, 0, :rotated] = cos
        self._sin[:, 0, :rotated] = torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)
        self._cos, self._sin = self._cos.to(weight.dtype), self._sin.to(weight.dtype)
        order = [*range(half, rotated), *range(half), *range(rotated, head_size)]
        self._order = torch.tensor(order, device=weight.device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine for tokens at ``positions``, [rows, 1, head size] each."""
        return self._cos.index_select(0, positions), self._sin.index_select(0, positions)

    def turn(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate heads [rows, heads, head size]."""
        return torch.addcmul(heads * cos, heads.index_select(-1, self._order), sin)
