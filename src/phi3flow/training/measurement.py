"""How well a model knows a set of chats: the loss of their answers, and how many it gives word for word."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from phi3flow.errors import ConfigError
from phi3flow.training import processes
from phi3flow.training.examples import IGNORED_LABEL, Chat, Example

ANSWERS_AT_ONCE = 64
LONGEST_ANSWER_TOKENS = 96


def measure_loss(model: PreTrainedModel, examples: Sequence[Example], *, batch_size: int) -> float:
    """Return the mean negative log-likelihood, in nats, over all assistant tokens of ``examples``.

    Every token weighs the same, whichever batch it is in. Several processes measure a part each, and return the same.
    Raises ConfigError where the weights have diverged.
    """
    collate = DataCollatorForLanguageModeling(pad_token_id=model.config.pad_token_id or 0)
    by_length = sorted(examples, key=lambda example: len(example["input_ids"]))
    total, count = 0.0, 0.0
    with _evaluating(model):
        for start in range(processes.rank() * batch_size, len(by_length), processes.count() * batch_size):
            batch = collate(by_length[start : start + batch_size])
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            n_tokens = int((inputs["labels"][:, 1:] != IGNORED_LABEL).sum())
            total += float(model(**inputs, use_cache=False).loss) * n_tokens
            count += n_tokens
    total, count = processes.sum_over_all([total, count], model.device)
    loss = total / count
    if not math.isfinite(loss):
        raise ConfigError(f"the training diverged (validation loss {loss}): choose a smaller --learning-rate")
    return loss


def measure_exact_match(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat]) -> float:
    """Return the share of chats whose last answer the model gives word for word, decoding greedily.

    ``tokenizer`` must pad on the left.
    """
    by_length = sorted(chats, key=lambda chat: sum(len(message["content"]) for message in chat))
    n_right = 0
    with _evaluating(model):
        for start in range(0, len(by_length), ANSWERS_AT_ONCE):
            batch = by_length[start : start + ANSWERS_AT_ONCE]
            answers = _answer(model, tokenizer, [chat[:-1] for chat in batch])
            n_right += sum(chat[-1]["content"] == answer for chat, answer in zip(batch, answers, strict=True))
    return n_right / len(chats)


def _answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Chat]) -> list[str]:
    encoded: Any = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
    )
    inputs = encoded.to(model.device)
    generated = cast(Any, model).generate(**inputs, max_new_tokens=LONGEST_ANSWER_TOKENS, do_sample=False)
    answers: list[str] = tokenizer.batch_decode(generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in answers]


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch dropout and gradients off, and dropout on again afterwards where it was on."""
    was_training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
