"""What a model is trained on: the assistant's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
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


def weighted(*weights: int | None) -> list[dict[str, Any]]:
    """Return a chat of so many turns, whose answers have these weights; None writes no weight."""
    turns = [
        [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": f"answer {number}!"} | ({} if weight is None else {"weight": weight}),
        ]
        for number, weight in enumerate(weights)
    ]
    return [message for turn in turns for message in turn]


@pytest.mark.parametrize(
    ("weights", "learnt"),
    [
        ((0, 1), "answer 1!<|end|>\n<|endoftext|>"),
        ((1, 0), "answer 0!<|end|>\n"),
        ((1, 0, 1), "answer 0!<|end|>\nanswer 2!<|end|>\n<|endoftext|>"),
        ((None, 0, 1.0), "answer 0!<|end|>\nanswer 2!<|end|>\n<|endoftext|>"),
    ],
)
def test_a_message_of_weight_0_is_read_and_not_learnt(tokenizer: Any, weights: tuple[Any, ...], learnt: str) -> None:
    from phi3flow.training.examples import encode_chats

    example = encode_chats(tokenizer, [weighted(*weights)], max_tokens=200).examples[0]
    assert tokenizer.decode([token for token in example["labels"] if token != -100]) == learnt
    plain = encode_chats(tokenizer, [weighted(*[None] * len(weights))], max_tokens=200).examples[0]
    assert example["input_ids"] == plain["input_ids"]


def test_a_chat_whose_answers_all_have_weight_0_is_counted_and_no_example(tokenizer: Any) -> None:
    from phi3flow.training.examples import encode_chats

    encoded = encode_chats(tokenizer, [weighted(0, 0), weighted(1), weighted(0)], max_tokens=200)
    assert (len(encoded.examples), encoded.unweighted, encoded.beyond, encoded.n_chats) == (1, [0, 2], [], 3)


def expected_labels(tokenizer: Any, chat: list[dict[str, Any]]) -> list[int]:
    """Return the labels by the characters of the rendered text, which is another way than the trainer's."""
    text, learnt = "", []
    for number, message in enumerate(chat):
        opening, content = f"<|{message['role']}|>\n", f"{message['content']}<|end|>\n"
        content += "<|endoftext|>" if number == len(chat) - 1 else ""
        is_learnt = message["role"] == "assistant" and message.get("weight", 1) == 1
        text += opening + content
        learnt += [False] * len(opening) + [is_learnt] * len(content)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [token if learnt[start] else -100 for token, (start, _) in pairs]


CONTENTS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12)


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    chat: list[dict[str, Any]] = [{"role": "system", "content": draw(CONTENTS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        weight = draw(st.sampled_from([{}, {"weight": 0}, {"weight": 1}]))
        chat += [
            {"role": "user", "content": draw(CONTENTS)},
            {"role": "assistant", "content": draw(CONTENTS), **weight},
        ]
    return chat


@given(batch=st.lists(chats(), min_size=1, max_size=6), max_tokens=st.integers(2, 200))
@settings(max_examples=60, deadline=None)
def test_the_labels_are_the_texts_of_weight_1_and_every_chat_is_counted_once(
    tokenizer: Any, batch: list[list[dict[str, Any]]], max_tokens: int
) -> None:
    from phi3flow.training.examples import encode_chats

    encoded = encode_chats(tokenizer, batch, max_tokens=max_tokens)
    expected = [expected_labels(tokenizer, chat) for chat in batch]
    left = [labels[:max_tokens] for labels in expected if any(label != -100 for label in labels[1:max_tokens])]
    assert [example["labels"] for example in encoded.examples] == left
    assert encoded.unweighted == [number for number, labels in enumerate(expected) if set(labels) == {-100}]
    assert len(encoded.examples) + len(encoded.beyond) + len(encoded.unweighted) == len(batch) == encoded.n_chats
    assert encoded.n_cut == sum(
        len(labels) > max_tokens and number not in (*encoded.beyond, *encoded.unweighted)
        for number, labels in enumerate(expected)
    )


def test_a_weight_that_a_template_cannot_tell_apart_is_refused(tmp_path: Path) -> None:
    from phi3flow.training.examples import encode_chats
    from phi3flow.training.weights import load_tokenizer

    other = load_tokenizer(save_tiny_phi3(tmp_path))
    other.chat_template = (
        "{% for message in messages %}{% generation %}{{ message['content'] }}{% endgeneration %}|"
        "{% if message['role'] == 'assistant' %}{% generation %}.{% endgeneration %}{% endif %}|{% endfor %}"
    )
    with pytest.raises(ConfigError, match="weight 0, and the chat template does not mark"):
        encode_chats(other, [weighted(0, 1)], max_tokens=200)


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
