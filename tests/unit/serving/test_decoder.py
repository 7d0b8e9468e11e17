"""The server's forward pass computes what transformers' Phi3ForCausalLM computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from phi3flow.serving.decoder import Decoder
from phi3flow.serving.slots import Decode, Prefill

SHAPE: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "original_max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.2, 1.5, 2.0],
    "long_factor": [4.0, 4.0, 4.0, 4.0],
    "original_max_position_embeddings": 256,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 2},
        {"sliding_window": 40},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
        {"rope_parameters": LONGROPE, "max_position_embeddings": 1024},
    ],
    ids=["plain", "grouped heads", "sliding window", "tied embeddings", "partial rotation", "longrope"],
)
def test_logits_equal_those_of_transformers(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Phi3ForCausalLM(Phi3Config(**(SHAPE | changes))).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)  # they begin as ones, which would hide a norm's error
    conversations = {0: torch.randint(0, 90, (100,)), 2: torch.randint(0, 90, (30,))}
    decoder = Decoder(model, context_tokens=256)
    with torch.inference_mode():
        expected = {slot: model(tokens[None], use_cache=False).logits[0] for slot, tokens in conversations.items()}
        cache = decoder.new_cache(slots=4)
        cache.reserve(110)
        for slot, tokens in conversations.items():
            prompt = tokens[:-8]
            hidden = decoder.forward(prompt, torch.arange(len(prompt)), Prefill(cache, {slot: len(prompt)}))
            torch.testing.assert_close(decoder.logits(hidden), expected[slot][: len(prompt)], rtol=1e-4, atol=1e-5)
        for back in range(8, 0, -1):
            positions = {slot: len(tokens) - back for slot, tokens in conversations.items()}
            tokens = torch.tensor([int(conversations[s][positions[s]]) if s in positions else 0 for s in range(4)])
            step = Decode(cache, positions)
            logits = decoder.logits(decoder.forward(tokens, step.positions, step))
            for slot, position in positions.items():
                torch.testing.assert_close(logits[slot], expected[slot][position], rtol=1e-4, atol=1e-5)


def test_a_prompt_is_read_to_the_same_bits_wherever_it_stands_in_a_pass() -> None:
    torch.manual_seed(0)
    decoder = Decoder(Phi3ForCausalLM(Phi3Config(**SHAPE)).eval(), context_tokens=256)
    prompts = {3: torch.randint(0, 90, (17,)), 0: torch.randint(0, 90, (1,)), 2: torch.randint(0, 90, (30,))}

    def read(slots: list[int]) -> dict[int, list[torch.Tensor]]:
        cache = decoder.new_cache(slots=4)
        cache.reserve(64)
        lengths = {slot: len(prompts[slot]) for slot in slots}
        unused = torch.zeros(64 - sum(lengths.values()), dtype=torch.long)
        tokens = torch.cat([*(prompts[slot] for slot in slots), unused])
        positions = torch.cat([*(torch.arange(length) for length in lengths.values()), unused])
        hidden = decoder.forward(tokens, positions, Prefill(cache, lengths)).split([*lengths.values(), len(unused)])
        return {
            slot: [rows, *(keys[slot] for keys in cache.keys), *(values[slot] for values in cache.values)]
            for slot, rows in zip(slots, hidden, strict=False)
        }

    with torch.inference_mode():
        together = read([3, 0, 2])
        for slot in prompts:
            for ours, alone in zip(together[slot], read([slot])[slot], strict=True):
                assert torch.equal(ours, alone)


def test_growing_keeps_what_was_read() -> None:
    torch.manual_seed(0)
    decoder = Decoder(Phi3ForCausalLM(Phi3Config(**SHAPE)).eval(), context_tokens=256)
    cache = decoder.new_cache(slots=2)
    cache.reserve(60)
    with torch.inference_mode():
        decoder.forward(torch.arange(50), torch.arange(50), Prefill(cache, {1: 50}))
        before = [(keys.clone(), values.clone()) for keys, values in zip(cache.keys, cache.values, strict=True)]
        cache.reserve(200)
    assert cache.capacity == 256
    for (keys, values), grown_keys, grown_values in zip(before, cache.keys, cache.values, strict=True):
        assert torch.equal(grown_keys[..., :64], keys)
        assert torch.equal(grown_values[:, :, :64], values)
