"""Pick the next tokens of many conversations at once, each by its own parameters and its own random numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUCLEUS_WIDTH = 256
GREEDY_BELOW = 1e-5
"""Logits over a smaller temperature leave float32, and the likeliest token has all the probability anyway."""


@dataclass(frozen=True)
class SamplingParameters:
    """How an answer is picked: ``temperature`` 0 takes the likeliest token always.

    ``top_p`` samples among the fewest tokens that hold this much probability (Holtzman et al. 2020, nucleus
    sampling); ``stop`` strings end the answer and are left out of it; the same ``seed`` gives the same answer,
    whatever else is in flight; ``max_new_tokens`` None means up to the end of the context.
    """

    temperature: float
    top_p: float = 1.0
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


def pick_tokens(
    logits: Tensor, parameters: Sequence[SamplingParameters], generators: Sequence[random.Random]
) -> list[int]:
    """Return one token a row of ``logits`` [rows, vocabulary].

    Every operation works row by row, so that a row's token does not depend on its neighbours. Sampling inverts
    the cumulative distribution at one uniform number a row, drawn from the row's own generator.
    """
    tokens = _likeliest(logits)
    sampled = [row for row, sampling in enumerate(parameters) if sampling.temperature >= GREEDY_BELOW]
    if not sampled:
        return tokens
    temperatures = logits.new_tensor([parameters[row].temperature for row in sampled]).float()
    scaled = logits[sampled].float()
    scaled = (scaled - scaled.max(dim=-1, keepdim=True).values) / temperatures[:, None]
    weights = scaled.softmax(dim=-1)
    if any(parameters[row].top_p < 1 for row in sampled):
        weights = _nucleus(weights, weights.new_tensor([parameters[row].top_p for row in sampled]))
    cumulated = weights.cumsum(dim=-1)
    uniform = weights.new_tensor([generators[row].random() for row in sampled])[:, None]
    picked = (cumulated <= uniform * cumulated[:, -1:]).sum(dim=-1).clamp(max=weights.shape[-1] - 1)
    for row, token in zip(sampled, picked.tolist(), strict=True):
        tokens[row] = token
    return tokens


def _likeliest(logits: Tensor) -> list[int]:
    """Return the token of each row's largest logit; numpy finds it in a tenth of torch's time on a CPU."""
    tokens: list[int] = (logits.argmax(dim=-1) if logits.is_cuda else logits.numpy().argmax(axis=-1)).tolist()
    return tokens


def _nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Set the weights outside of each row's nucleus to 0; tokens as likely as the last one inside stay too.

    Sorting a whole vocabulary costs more than the model's step, and the nucleus seldom needs it: the likeliest
    ``NUCLEUS_WIDTH`` tokens are looked at first.
    """
    vocabulary = weights.shape[-1]
    ordered = weights.topk(min(NUCLEUS_WIDTH, vocabulary)).values
    if bool((ordered.sum(dim=-1) < top_p).any()):
        ordered = weights.sort(dim=-1, descending=True).values
    before = ordered.cumsum(dim=-1) - ordered
    last_inside = ordered.masked_fill(before >= top_p[:, None], float("inf")).amin(dim=-1, keepdim=True)
    return weights.masked_fill(weights < last_inside, 0)
