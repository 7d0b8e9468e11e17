"""What a fine-tune would not learn of its files: counted before it begins, and refused where it is much.

A model that has seen a third of its examples is trained and scored like any other, and nobody would know.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from phi3flow.errors import DatasetError
from phi3flow.serving.azure.model_files import load_config
from phi3flow.text import plural
from phi3flow.training.config import RECORD_FILE, FineTuneConfig
from phi3flow.training.examples import Encoded, encode_chats
from phi3flow.training.inputs import ChatFile, TrainingInputs
from phi3flow.training.tiny_phi3 import base_tokenizer
from phi3flow.training.weights import load_tokenizer, quieten_libraries

MOST_LEFT_OUT = 0.05
"""The share of a file's examples that may have no answer within the tokens that a training reads."""

_LISTED = 5


def check(config: FineTuneConfig, inputs: TrainingInputs) -> list[str]:
    """Return a remark for each file of which something is left out or cut.

    Raises DatasetError, which says how to keep them, where more than MOST_LEFT_OUT of a file's examples have no answer
    within the tokens that are read, or where nothing is left to learn.
    """
    quieten_libraries()
    tokenizer, context = _reader(config, inputs)
    max_tokens = min(config.hyperparameters.max_seq_length, context)
    remarks = []
    for file in (inputs.train, inputs.validation):
        encoded = encode_chats(tokenizer, file.chats, max_tokens=max_tokens)
        remark = describe(encoded, file, remedy=_remedy(encoded, config, context))
        if len(encoded.beyond) > MOST_LEFT_OUT * encoded.n_chats:
            raise DatasetError(f"{remark} To leave out more than {MOST_LEFT_OUT:.0%} is refused")
        if not encoded.examples:
            raise DatasetError(f"{remark} Nothing is left to learn")
        remarks += [remark] if remark else []
    return remarks


def count(encoded: Encoded, *, of: str = "") -> dict[str, int]:
    """Return the numbers that a training's record keeps; they add up but for ``cut``, which are among the examples."""
    return {
        f"{of}examples": len(encoded.examples),
        f"{of}examples_cut": encoded.n_cut,
        f"{of}examples_dropped": len(encoded.beyond),
        f"{of}examples_without_weight": len(encoded.unweighted),
    }


def describe(encoded: Encoded, file: ChatFile, *, remedy: str) -> str:
    """Say what of a file is not learnt, and where it stands; nothing where all of it is."""
    total, limit = plural(encoded.n_chats, "example"), plural(encoded.max_tokens, "token")
    parts = []
    if encoded.beyond:
        parts.append(f"{len(encoded.beyond):,} left out, no answer within {limit} ({_lines(file, encoded.beyond)})")
    if encoded.n_cut:
        parts.append(f"{encoded.n_cut:,} cut at {limit}")
    if encoded.unweighted:
        parts.append(
            f"{len(encoded.unweighted):,} with nothing to learn, weight 0 ({_lines(file, encoded.unweighted)})"
        )
    if not parts:
        return ""
    return f"{file.path}: of {total} {'; '.join(parts)}." + (remedy if encoded.beyond or encoded.n_cut else "")


def _lines(file: ChatFile, positions: Sequence[int]) -> str:
    lines = ", ".join(f"{file.path}:{file.lines[position]}" for position in positions[:_LISTED])
    return f"{lines} …" if len(positions) > _LISTED else lines


def _remedy(encoded: Encoded, config: FineTuneConfig, context: int) -> str:
    if encoded.longest <= context:
        return f" --max-seq-length {encoded.longest} keeps all of them whole."
    name = f"--model {config.model}" if config.model else "The tiny base model (BaseConfig.context_tokens)"
    raised = f" --max-seq-length {context} keeps more." if encoded.max_tokens < context else ""
    return f"{raised} {name} reads {context} tokens: shorten them, or take a --model that reads {encoded.longest}."


def _reader(config: FineTuneConfig, inputs: TrainingInputs) -> tuple[PreTrainedTokenizerBase, int]:
    """Return the tokenizer, and the most tokens that the model reads."""
    if inputs.model is None:
        folder = config.base.folder
        kept = (folder / RECORD_FILE).is_file()
        return load_tokenizer(folder) if kept else base_tokenizer(config.base), config.base.context_tokens
    architecture = load_config(inputs.model.config)
    return load_tokenizer(inputs.model.tokenizer, config=architecture), architecture.max_position_embeddings
