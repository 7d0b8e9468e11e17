"""The tokenizer of the tiny base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

CHAT = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "How much does the kettle cost?"},
    {"role": "assistant", "content": "39 euros."},
    {"role": "user", "content": "And in France?"},
    {"role": "assistant", "content": "The same."},
]


@pytest.fixture(scope="module")
def own_tokenizer() -> Any:
    from phi3flow.training.config import BaseConfig
    from phi3flow.training.tiny_phi3 import new_tokenizer

    return new_tokenizer(["How long does the battery of the lamp last?"] * 9, BaseConfig(vocabulary_size=300))


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
