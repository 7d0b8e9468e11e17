"""A model folder for tests: the Phi-3 architecture with random weights, small and made in a second.

It is what ``from_pretrained`` expects of real Phi-3: config.json, model.safetensors, tokenizer.json, Phi-3's
chat template, and <|end|> among the tokens that end an answer.
"""

from __future__ import annotations

from pathlib import Path

SPECIAL_TOKENS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
SENTENCES = (
    "Who founded Microsoft? Bill Gates and Paul Allen founded Microsoft in 1975.",
    "What is the capital of France? The capital of France is Paris.",
    "How much does the blue kettle cost? The blue kettle costs 39 euros and holds 1.7 litres.",
    "You are a helpful assistant. Answer in one short sentence.",
)
CONTEXT_TOKENS = 256


def save_tiny_phi3(folder: Path, *, seed: int = 0) -> Path:
    """Save a random Phi3ForCausalLM and its tokenizer in ``folder`` and return the folder.

    Hidden 32, 2 layers, context 256 tokens; the byte-level tokenizer knows every string. The same seed gives
    the same weights.
    """
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    tokenizer = _tokenizer()
    token_ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        original_max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=token_ids["<|endoftext|>"],
        eos_token_id=token_ids["<|endoftext|>"],
        pad_token_id=token_ids["<|endoftext|>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3ForCausalLM(config)
    model.generation_config.eos_token_id = [token_ids["<|endoftext|>"], token_ids["<|end|>"]]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer():  # type: ignore[no-untyped-def]  # transformers is imported late
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_TOKENS,
    )
