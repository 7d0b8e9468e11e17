"""Chats as what a model is trained on: token ids, and labels for the assistant's tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import has_generation_markers, phi3_chat_template, phi3_training_chat_template

from phi3flow.errors import ConfigError

IGNORED_LABEL = -100
"""The label of a token that has no loss, by PyTorch's convention."""

Chat = list[dict[str, str]]

_PROBE: Chat = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "v"},
    {"role": "assistant", "content": "b"},
]


class Example(TypedDict):
    """One chat: ``labels`` are the ``input_ids`` where an assistant speaks, IGNORED_LABEL elsewhere."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Encoded:
    """Chats as examples; ``n_cut`` were too long, ``n_dropped`` have no assistant's token in what is left."""

    examples: list[Example]
    n_cut: int
    n_dropped: int


def encode_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], *, max_tokens: int) -> Encoded:
    """Encode each chat by its first ``max_tokens``.

    Raises ConfigError where the chat template does not tell whose tokens are whose, or no example is left.
    """
    encoded: Any = tokenizer.apply_chat_template(
        list(chats),
        chat_template=_training_template(tokenizer),
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    pairs = list(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))
    examples = [
        Example(
            input_ids=token_ids[:max_tokens],
            labels=[
                token if spoken else IGNORED_LABEL
                for token, spoken in zip(token_ids[:max_tokens], mask[:max_tokens], strict=True)
            ],
        )
        for token_ids, mask in pairs
        if any(mask[1:max_tokens])
    ]
    if not examples:
        raise ConfigError(f"--max-seq-length {max_tokens}: no assistant's answer begins within so few tokens")
    n_cut = sum(len(token_ids) > max_tokens for token_ids, _ in pairs)
    return Encoded(examples, n_cut=n_cut, n_dropped=len(pairs) - len(examples))


def _training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a template that renders as the tokenizer's own and marks the assistant's words.

    Phi-3's published template has no such marks; trl's copy of it has, and serves whenever both render alike.
    """
    own: Any = tokenizer.chat_template
    if own and has_generation_markers(own):
        return str(own)
    marked = str(phi3_training_chat_template)
    if own and _render(tokenizer, own) == _render(tokenizer, phi3_chat_template):
        return marked
    raise ConfigError(
        f"{tokenizer.name_or_path}: the chat template is not Phi-3's and does not mark the assistant's words; "
        "put {% generation %} … {% endgeneration %} around them in chat_template.jinja"
    )


def _render(tokenizer: PreTrainedTokenizerBase, template: str) -> Any:
    return tokenizer.apply_chat_template(_PROBE, chat_template=template, tokenize=False)
