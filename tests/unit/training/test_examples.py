"""What a model is trained on: the assistant's words, in the order that seed and epoch decide."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import ConfigError
from tests.support.folders.tiny_phi3 import save_tiny_phi3

CHAT = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "How much does the kettle cost?"},
    {"role": "assistant", "content": "39 euros."},
    {"role": "user", "content": "And in France?"},
    {"role": "assistant", "content": "The same."},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from phi3flow.training.weights import load_tokenizer

    return load_tokenizer(save_tiny_phi3(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def own_tokenizer() -> Any:
    from phi3flow.training.config import BaseConfig
    from phi3flow.training.tiny_phi3 import new_tokenizer

    return new_tokenizer(["How long does the battery of the lamp last?"] * 9, BaseConfig(vocabulary_size=300))


def test_only_the_words_of_the_assistant_are_learnt(tokenizer: Any) -> None:
    from phi3flow.training.examples import encode_chats

    example = encode_chats(tokenizer, [CHAT], max_tokens=200).examples[0]
    learnt = [token for token in example["labels"] if token != -100]
    assert tokenizer.decode(learnt) == "39 euros.<|end|>\nThe same.<|end|>\n<|endoftext|>"
    assert tokenizer.decode(example["input_ids"]) == tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_a_long_chat_is_cut_and_one_without_an_answer_left_is_dropped(tokenizer: Any) -> None:
    from phi3flow.training.examples import encode_chats

    whole = len(encode_chats(tokenizer, [CHAT], max_tokens=200).examples[0]["input_ids"])
    late = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Yes."}]
    encoded = encode_chats(tokenizer, [CHAT, late], max_tokens=whole - 1)
    assert [len(example["input_ids"]) for example in encoded.examples] == [whole - 1]
    assert (encoded.n_cut, encoded.n_dropped) == (2, 1)
    with pytest.raises(ConfigError, match="--max-seq-length 8: no assistant's answer"):
        encode_chats(tokenizer, [late], max_tokens=8)


def test_a_chat_template_that_hides_who_speaks_is_refused(tmp_path: Path) -> None:
    from phi3flow.training.examples import encode_chats
    from phi3flow.training.weights import load_tokenizer

    other = load_tokenizer(save_tiny_phi3(tmp_path))
    other.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ConfigError, match=r"chat template is not Phi-3's.*chat_template\.jinja"):
        encode_chats(other, [CHAT], max_tokens=200)


def test_a_chat_template_with_marks_of_its_own_is_used(tmp_path: Path) -> None:
    from phi3flow.training.examples import encode_chats
    from phi3flow.training.weights import load_tokenizer

    other = load_tokenizer(save_tiny_phi3(tmp_path))
    other.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}"
        "{% endgeneration %}{% else %}{{ message['content'] }}{% endif %}|{% endfor %}"
    )
    example = encode_chats(other, [CHAT], max_tokens=200).examples[0]
    assert other.decode([token for token in example["labels"] if token != -100]) == "39 euros.The same."


def test_the_tiny_tokenizer_pads_on_the_left_after_a_reload(own_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    own_tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"


def test_the_tiny_tokenizer_has_the_chat_template_of_phi3(own_tokenizer: Any) -> None:
    rendered = own_tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|system|>\nAnswer briefly.<|end|>\n<|user|>\nHow much does the kettle cost?<|end|>\n<|assistant|>\n"
    )


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_tiny_tokenizer_spells_every_text(own_tokenizer: Any, text: str) -> None:
    assert own_tokenizer.decode(own_tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


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
