"""What the files of a model's folder leave to be known: its family, the tokens that end an answer, and its context.

The file goes into Azure's container beside score.py and imports nothing of phi3flow; ``phi3flow serve`` imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ALSO_PHI3 = "phi3mini"
"""What Azure's fine-tuning may call the family in config.json; transformers knows it as phi3 only."""
BATCH_DEPENDENT_ROPE = {"longrope", "dynamic"}
"""Rotary embeddings that transformers rescales for a whole batch once one of its rows passes the original context."""
_GENERATION = "generation_config.json"
_WORDS = "The answer."


def load_config(source: Path | str, **options: Any) -> Any:
    """Load the configuration of a model's folder, or of a name on the hub; no code from there is run."""
    from transformers import AutoConfig, Phi3Config, PreTrainedConfig

    written, _ = PreTrainedConfig.get_config_dict(source, **options)
    if written.get("model_type") == ALSO_PHI3:
        return Phi3Config.from_dict(written | {"model_type": "phi3"})
    return AutoConfig.from_pretrained(source, trust_remote_code=False, **options)


def load_settings(weights: Path | str, config: Path | str, **options: Any) -> dict[str, Any]:
    """Return what ``from_pretrained`` needs besides the weights: the configuration, and how it generates.

    Azure's fine-tuning keeps config.json apart from the weights, beside which transformers wants it where
    generation_config.json is missing.
    """
    from transformers import GenerationConfig

    settings = {"config": load_config(config, **options)}
    if config != weights and not (Path(weights) / _GENERATION).is_file():
        has_own = (Path(config) / _GENERATION).is_file()
        of_config = GenerationConfig.from_model_config(settings["config"])
        settings["generation_config"] = GenerationConfig.from_pretrained(config) if has_own else of_config
    return settings


def end_tokens(network: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end an answer: the tokenizer's and those of generation_config.json.

    Where that is missing, transformers knows the text's end only: the turn's is then read off the chat template. So it
    is where transformers itself wrote the file, of a model that had none.
    """
    settings = network.generation_config
    ends = settings.eos_token_id
    known = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    if settings._from_model_config:
        known.add(_end_of_turn(tokenizer))
    return known - {None}


def _end_of_turn(tokenizer: Any) -> int | None:
    """Return the token that the chat template puts right behind the assistant's words; None where it is no token."""
    messages = [{"role": "user", "content": "A question?"}, {"role": "assistant", "content": _WORDS}]
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False)
    except Exception:  # a template may refuse in any way; a request that it refuses too is told why
        return None
    _, words, behind = str(text).rpartition(_WORDS)
    tokens = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if str(token).strip()}
    written = [token for token in tokens if words and behind.startswith(token)]
    return tokens[max(written, key=len)] if written else None


def context_tokens(config: Any) -> int:
    """Return the longest conversation, prompt and answer together, whose answer does not depend on its batch."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in BATCH_DEPENDENT_ROPE:
        return int(rope.get("original_max_position_embeddings") or config.original_max_position_embeddings)
    return int(config.max_position_embeddings)
