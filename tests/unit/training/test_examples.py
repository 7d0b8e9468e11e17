"""What a model is trained on: the assistant's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    assert (encoded.n_cut, encoded.beyond, encoded.n_chats) == (1, [1], 2)


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
