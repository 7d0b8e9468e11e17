"""Model folders: load Phi-3 weights to train an adapter on, or the tiny base whole, and save what came of it."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from phi3flow.errors import ConfigError
from phi3flow.serving.azure.model_files import load_settings
from phi3flow.temporary import temporary_folder
from phi3flow.training.model_folder import ModelFolder, find_model

LORA_RANK = 16
LORA_ALPHA = 32
LORA_DROPOUT = 0.05


def load_whole(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model whose weights will all be trained, in float32."""
    model = _load_model(find_model(folder), dtype=torch.float32)
    return model.to(device()), load_tokenizer(folder)  # the wrapper loses its types


def load_with_adapter(source: ModelFolder, *, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load given weights, frozen, under a new LoRA adapter on every linear layer but the head.

    bfloat16 where the device computes in it, 4-bit NF4 (Dettmers et al. 2023) where bitsandbytes is installed and
    there is a GPU. The adapter begins as no change at all.
    """
    options: dict[str, Any] = {"dtype": torch.bfloat16 if has_bf16() else torch.float32}
    if torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes"):
        options["device_map"] = {"": torch.cuda.current_device()}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
    base = _load_model(source, **options)
    if "quantization_config" not in options:
        base.to(device())  # the wrapper loses its types
    set_seed(seed)
    adapter = LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=LORA_DROPOUT,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(base, adapter)
    return model, load_tokenizer(source.tokenizer, config=base.config)


def merge_adapter(model: PreTrainedModel, source: ModelFolder) -> PreTrainedModel:
    """Return the weights of ``source``, in the type that they are saved in, with the adapter of ``model`` merged in.

    They are loaded again: of weights that ``model`` holds in 4 bits the rounding would be kept.
    """
    with temporary_folder() as folder:
        model.save_pretrained(folder)
        adapted: Any = PeftModel.from_pretrained(_load_model(source, dtype="auto"), folder)
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def quieten_libraries() -> None:
    """Leave the terminal to our own display: no bars for files, no remarks about deprecated names."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def load_tokenizer(folder: Path, *, config: Any = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer that pads on the left, as generating a batch needs.

    The model's ``config``, else the one in the folder, tells transformers which class it is.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config, padding_side="left", trust_remote_code=False
        )
    except Exception as error:  # transformers has no base class for a broken folder
        raise ConfigError(f"--model {folder}: its tokenizer does not load: {error}") from error
    return tokenizer


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save weights or adapter as safetensors, with tokenizer, chat template and generation settings."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Tell whether the device computes in bfloat16; CPUs only emulate it, at a third of the speed."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def _load_model(source: ModelFolder, **options: Any) -> PreTrainedModel:
    weights = source.weights.resolve()  # an adapter will name its base by this path
    try:
        settings = load_settings(source.weights, source.config, local_files_only=True)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            weights, local_files_only=True, trust_remote_code=False, **settings, **options
        )
    except Exception as error:  # transformers and safetensors share no base class for a broken folder
        raise ConfigError(f"--model {source.weights} does not load: {type(error).__name__}: {error}") from error
    return model
