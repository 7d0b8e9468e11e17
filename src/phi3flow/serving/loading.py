"""Load a model folder for serving: the weights, the tokenizer, and what both say about context and endings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.serving.azure.model_files import context_tokens, end_tokens, load_config
from phi3flow.text import shorten

if TYPE_CHECKING:
    import torch
    from transformers import Phi3ForCausalLM, PreTrainedTokenizerFast

SINGLE_THREAD_PARAMETERS = 20_000_000
"""Below this size a second thread costs more in waiting than it computes, and the HTTP side needs the core."""

_NUMBERS = 1024  # of each weight: a fine-tune moves most of those that it moves at all


class ChatTemplateError(Exception):
    """The chat template does not tell where the last answer begins."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to serve: ``context_tokens`` bounds prompt and answer together."""

    model: Phi3ForCausalLM
    tokenizer: PreTrainedTokenizerFast
    context_tokens: int
    end_token_ids: frozenset[int]

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model from another: a hash of some numbers of every weight, and of its chat template."""
        import torch

        digest = hashlib.sha256(str(self.tokenizer.chat_template).encode())
        for name, weight in self.model.state_dict().items():
            numbers = weight.detach().flatten()
            some = numbers[:: max(1, len(numbers) // _NUMBERS)].to("cpu", torch.float32)
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode() + some.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    def encode_chat(self, messages: list[dict[str, str]], *, complete: bool = False) -> list[int]:
        """Return the prompt's tokens: the chat template filled in, up to where the assistant begins to speak.

        A ``complete`` chat ends with its last message instead, as a training reads it.
        """
        token_ids: list[int] = self._encode(self._fill_in(messages, complete=complete)).ids
        return token_ids

    def encode_answered(self, messages: list[dict[str, str]]) -> tuple[list[int], int]:
        """Return the tokens of a complete chat, and where its last message, the assistant's, begins among them.

        What follows its words, <|end|> and what else the template writes, is the answer's too: fine-tune's loss
        counts the same tokens. Raises ChatTemplateError.
        """
        text, prompt = self._fill_in(messages, complete=True), self._fill_in(messages[:-1], complete=False)
        encoding = self._encode(text)
        start = encoding.char_to_token(len(prompt)) if text.startswith(prompt) else None
        if start is None:
            raise ChatTemplateError("it writes no answer where its prompt ends, so whose tokens are whose is not known")
        return encoding.ids, start

    def _fill_in(self, messages: list[dict[str, str]], *, complete: bool) -> str:
        text: Any = self.tokenizer.apply_chat_template(messages, add_generation_prompt=not complete, tokenize=False)
        return str(text)

    def _encode(self, text: str) -> Any:
        """Cut text into tokens, in a third of the time that the tokenizer's __call__ takes."""
        return self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of an answer's tokens, without control tokens."""
        text: Any = self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


def check_is_model(folder: Path) -> None:
    """Raise ConfigError for a folder that cannot be a model, without loading it."""
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ConfigError(
            f"{folder} is not a model folder: it holds neither config.json nor adapter_config.json; "
            "`phi3flow fine-tune` writes one"
        )


def load_model(folder: Path) -> LoadedModel:
    """Load a Hugging Face folder, or a peft adapter folder merged into its base, onto the GPU where there is one.

    On a CPU the weights are float32 (bfloat16 is slower there, and rounds near-ties together); on CUDA they keep
    the type they were saved in. Raises ConfigError for what is not a model folder or does not load.
    """
    check_is_model(folder)
    try:
        import torch
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("local", error) from error
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype: Any = "auto" if device.type == "cuda" else torch.float32
    try:
        model = _load_weights(folder, dtype=dtype)
        model.to(device).eval()  # transformers' wrapper of nn.Module.to loses its types
        tokenizer = AutoTokenizer.from_pretrained(
            _tokenizer_folder(folder), config=model.config, trust_remote_code=False
        )
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError(f"{folder}: there is no tokenizer.json, and a slow tokenizer is not served")
    except ConfigError:
        raise
    except Exception as error:  # transformers, peft and safetensors share no base class for a broken folder
        reason = shorten(str(error), 500)
        raise ConfigError(f"{folder} does not load as a model: {type(error).__name__}: {reason}") from error
    return _describe(folder, model, tokenizer)


def _describe(folder: Path, model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    if model.config.model_type != "phi3":
        raise ConfigError(f"{folder} holds a {model.config.model_type} model; served here is the Phi-3 family (phi3)")
    if not tokenizer.chat_template:
        raise ConfigError(f"{folder}: the tokenizer has no chat template (chat_template.jinja)")
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_tokens=context_tokens(model.config),
        end_token_ids=frozenset(end_tokens(model, tokenizer)),
    )


def _load_weights(folder: Path, **options: Any) -> Phi3ForCausalLM:
    from transformers import AutoModelForCausalLM

    is_adapter = (folder / "adapter_config.json").is_file()
    source = _base_of(folder) if is_adapter else folder
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source, config=load_config(source), output_loading_info=True, trust_remote_code=False, **options
    )
    model, report = loaded
    if report["missing_keys"]:  # transformers would fill them with random numbers
        raise ConfigError(f"{folder} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])} …")
    if is_adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    return cast("Phi3ForCausalLM", model)


def _tokenizer_folder(folder: Path) -> Path | str:
    return folder if (folder / "tokenizer_config.json").is_file() else _base_of(folder)


def _base_of(folder: Path) -> Path | str:
    """Return the adapter's base: a model's folder (relative to here or to the adapter), or a name on the hub."""
    adapter = folder / "adapter_config.json"
    name = json.loads(adapter.read_bytes()).get("base_model_name_or_path") if adapter.is_file() else None
    if not name:
        raise ConfigError(f"{adapter}: base_model_name_or_path is missing, so the adapter's base is not known")
    return next((path for path in (Path(name), folder / name) if (path / "config.json").is_file()), name)
