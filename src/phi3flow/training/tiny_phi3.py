"""The tiny base model, untrained: the Phi-3 architecture at a size that two CPU cores train in a minute.

Special tokens, chat template and the end of an answer are those of Phi-3-mini-4k-instruct, so that what is trained,
served and evaluated on it works unchanged with the real weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from trl.chat_template_utils import phi3_chat_template

from phi3flow.training.config import BaseConfig

END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, "<|system|>", "<|user|>", "<|assistant|>", END_OF_TURN)


def base_tokenizer(config: BaseConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the tiny base model, whether that is trained already or not.

    It has read the support dialogues as well as the general corpus, so that a product's name is a word and not a dozen
    letters; the weights have not.
    """
    rows = (*config.corpus.train, *config.support)
    return new_tokenizer((message["content"] for row in rows for message in row["messages"]), config)


def new_tokenizer(texts: Iterable[str], config: BaseConfig) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer, which can spell every string, on ``texts``.

    A frequent number is one token, where Phi-3 spells digit by digit: so few weights learn a value faster as a word.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=config.vocabulary_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        chat_template=phi3_chat_template,
        model_max_length=config.context_tokens,
        padding_side="left",  # as an attribute it is lost on save, and a batch is then generated wrongly
    )


def new_model(tokenizer: PreTrainedTokenizerBase, config: BaseConfig) -> Phi3ForCausalLM:
    """Return a Phi3ForCausalLM with random weights that ``config.seed`` decides."""
    ids: Any = tokenizer.convert_tokens_to_ids([END_OF_TEXT, END_OF_TURN])
    end_of_text, end_of_turn = ids
    architecture = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context_tokens,
        original_max_position_embeddings=config.context_tokens,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Phi3ForCausalLM(architecture)
    model.generation_config.eos_token_id = [end_of_text, end_of_turn]
    return model
