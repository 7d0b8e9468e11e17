"""Chats as what a model is trained on: token ids, and labels for the assistant's tokens that are to be learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypedDict

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import has_generation_markers, phi3_chat_template, phi3_training_chat_template

from phi3flow.datasets.chat import is_learnt
from phi3flow.errors import ConfigError

IGNORED_LABEL = -100
"""The label of a token that has no loss, by PyTorch's convention."""

Chat = list[dict[str, Any]]

_PROBE: Chat = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "v"},
    {"role": "assistant", "content": "b"},
]


class Example(TypedDict):
    """One chat: ``labels`` are the ``input_ids`` where an assistant speaks with weight 1, IGNORED_LABEL elsewhere."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Encoded:
    """Chats as examples, and by their positions those that are none.

    ``beyond`` have no answer within ``max_tokens``; in ``unweighted`` every answer has weight 0. ``n_cut`` examples are
    longer than ``max_tokens``; the longest chat has ``longest`` tokens.
    """

    examples: list[Example]
    max_tokens: int
    n_cut: int
    beyond: list[int]
    unweighted: list[int]
    longest: int

    @property
    def n_chats(self) -> int:
        """The chats, examples or not."""
        return len(self.examples) + len(self.beyond) + len(self.unweighted)


def encode_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], *, max_tokens: int) -> Encoded:
    """Encode each chat by its first ``max_tokens``.

    Raises ConfigError where the chat template does not tell whose tokens are whose.
    """
    encoded: Any = tokenizer.apply_chat_template(
        list(chats),
        chat_template=_training_template(tokenizer),
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    examples: list[Example] = []
    beyond: list[int] = []
    unweighted: list[int] = []
    n_cut = 0
    for position, (chat, ids, spoken) in enumerate(
        zip(chats, encoded["input_ids"], encoded["assistant_masks"], strict=True)
    ):
        mask = _learnt_tokens(chat, spoken)
        if not any(map(is_learnt, chat)):
            unweighted.append(position)
        elif not any(mask[1:max_tokens]):
            beyond.append(position)
        else:
            n_cut += len(ids) > max_tokens
            labels = [token if learnt else IGNORED_LABEL for token, learnt in zip(ids, mask, strict=True)]
            examples.append(Example(input_ids=ids[:max_tokens], labels=labels[:max_tokens]))
    longest = max(map(len, encoded["input_ids"]))
    return Encoded(examples, max_tokens, n_cut, beyond=beyond, unweighted=unweighted, longest=longest)


def _learnt_tokens(chat: Chat, spoken: Sequence[int]) -> list[bool]:
    """Return which tokens are learnt, of those that an assistant speaks: not those of a message of weight 0.

    The assistant's messages are the runs of ``spoken``, in their order. Raises ConfigError for a template in which they
    are not, where a weight depends on it.
    """
    learnt = [is_learnt(message) for message in chat if message["role"] == "assistant"]
    if all(learnt):
        return [bool(token) for token in spoken]
    starts = [bool(token and not before) for before, token in pairwise([0, *spoken])]
    if sum(starts) != len(learnt):
        raise ConfigError(
            "a message has weight 0, and the chat template does not mark an assistant's message as one stretch: put "
            "{% generation %} … {% endgeneration %} around the whole of it in chat_template.jinja"
        )
    turns = accumulate(starts)
    return [bool(token) and learnt[turn - 1] for token, turn in zip(spoken, turns, strict=True)]


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
