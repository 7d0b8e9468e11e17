"""What is a model folder is loaded as it was saved; what is not is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from phi3flow.errors import ConfigError
from phi3flow.serving.loading import load_model
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3


def _change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    model = load_model(save_tiny_phi3(tmp_path))
    assert model.context_tokens == CONTEXT_TOKENS
    assert {model.tokenizer.convert_ids_to_tokens(token) for token in model.end_token_ids} == {
        "<|endoftext|>",
        "<|end|>",
    }
    prompt = model.encode_chat([{"role": "user", "content": "Hi"}])
    assert model.tokenizer.decode(prompt) == "<|user|>\nHi<|end|>\n<|assistant|>\n"


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_an_adapter_is_merged_into_its_base(
    tmp_path: Path, with_tokenizer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = save_tiny_phi3(tmp_path / "base")
    tuned: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules=["qkv_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    tuned.save_pretrained(tmp_path / "adapter")
    _change(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="../base")
    if with_tokenizer:
        load_model(base).tokenizer.save_pretrained(tmp_path / "adapter")
    (tmp_path / "elsewhere" / "base").mkdir(parents=True)  # of that name, and no model
    (tmp_path / "elsewhere" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" / "here")
    loaded = load_model(tmp_path / "adapter")
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        expected = tuned.eval()(tokens).logits
        torch.testing.assert_close(loaded.model(tokens).logits, expected)
        assert not torch.allclose(load_model(base).model(tokens).logits, expected, atol=1e-3)


def test_what_a_folder_brings_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks on the terminal whether it shall, and does on "y"."""
    folder = save_tiny_phi3(tmp_path / "model")
    ran = tmp_path / "ran"
    for name in ("configuration_own.py", "modeling_own.py", "tokenization_own.py"):
        (folder / name).write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    own = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    _change(folder / "config.json", auto_map=own)
    _change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_own.Own", None]})
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    assert load_model(folder).context_tokens == CONTEXT_TOKENS
    _change(folder / "config.json", model_type="own")
    with pytest.raises(ConfigError, match="does not load as a model"):
        load_model(folder)
    assert not ran.exists()


def test_fingerprints_tell_models_apart(tmp_path: Path) -> None:
    first, same, other = (load_model(save_tiny_phi3(tmp_path / str(n), seed=n % 2)).fingerprint for n in (0, 2, 1))
    assert first == same != other
    file = tmp_path / "0" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.self_attn.qkv_proj.weight"] += 0.001
    save_file(weights, file, {"format": "pt"})
    assert load_model(tmp_path / "0").fingerprint != first


def test_positions_that_depend_on_the_batch_are_not_served(tmp_path: Path) -> None:
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": CONTEXT_TOKENS,
    }
    config = save_tiny_phi3(tmp_path) / "config.json"
    _change(config, max_position_embeddings=8 * CONTEXT_TOKENS, rope_parameters=longrope)
    assert load_model(tmp_path).context_tokens == CONTEXT_TOKENS


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _drop_half_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if "layers.1" not in name}
    save_file(kept, weights, metadata={"format": "pt"})


def _be_another_family(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def _forget_the_base(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("break_folder", "words"),
    [
        (_empty, "is not a model folder: it holds neither config.json nor adapter_config.json"),
        (_drop_half_the_weights, r"lacks weights: model\.layers\.1"),
        (_be_another_family, "holds a llama model"),
        (_forget_the_base, "base_model_name_or_path is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "does not load as a model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "does not load as a model"),
        (lambda folder: (folder / "model.safetensors").unlink(), "does not load as a model"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    ],
)
def test_what_does_not_serve_is_refused_by_name(tmp_path: Path, break_folder: Any, words: str) -> None:
    break_folder(save_tiny_phi3(tmp_path))
    with pytest.raises(ConfigError, match=words) as refused:
        load_model(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
