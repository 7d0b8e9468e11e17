"""The tokens that end an answer are read off the chat template where no file names them; phi3mini is phi3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, PreTrainedTokenizerFast

from phi3flow.serving.azure.model_files import end_tokens, load_settings
from phi3flow.serving.loading import load_model
from phi3flow.training.model_folder import find_model
from phi3flow.training.weights import load_tokenizer, load_with_adapter
from tests.support.folders.tiny_phi3 import CHAT_TEMPLATE, save_tiny_phi3

PHI4_MINI = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
TURNS = "{%% for message in messages %%}<|{{ message['role'] }}|>{{ message['content'] }}%s{%% endfor %%}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    loaded: Any = load_tokenizer(save_tiny_phi3(tmp_path_factory.mktemp("tiny")))
    return loaded


def _ends(tokenizer: PreTrainedTokenizerFast, template: str, **settings: Any) -> set[str]:
    class Network:
        generation_config = GenerationConfig(eos_token_id=0, **settings)

    tokenizer.chat_template = template
    tokens: Any = tokenizer.convert_ids_to_tokens(sorted(end_tokens(Network, tokenizer)))
    return set(tokens)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, PHI4_MINI], ids=["Phi-3", "Phi-4-mini"])
def test_the_turns_end_is_read_off_the_template(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    assert _ends(tokenizer, template, _from_model_config=True) == {"<|endoftext|>", "<|end|>"}
    assert _ends(tokenizer, template) == {"<|endoftext|>"}  # its author's generation_config.json is as it should be


@pytest.mark.parametrize(
    "template",
    [
        TURNS % "{{ eos_token }}",
        TURNS % "",
        TURNS % "\n",
        TURNS % " The end.",
        TURNS % "<|im_end|>\n",
        "{{ raise_exception('no') }}",
        "{% for",
        "{{ 1 // 0 }}",
        "{{ messages[0]['content'] }}<|end|>",
    ],
    ids=["eos", "none", "white space", "text", "no token here", "refuses", "broken", "fails", "no answer in it"],
)
def test_other_templates_change_nothing(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    assert _ends(tokenizer, template, _from_model_config=True) == {"<|endoftext|>"}


@given(
    end=st.text(st.characters(exclude_characters="{}%#"), max_size=12) | st.sampled_from(["<|end|>!", "<|end", "\n"])
)
def test_only_a_token_of_its_own_ends_a_turn(tokenizer: PreTrainedTokenizerFast, end: str) -> None:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    expected = {"<|endoftext|>", *(token for token in added if end.startswith(token))}
    assert _ends(tokenizer, TURNS % end.replace("%", "%%"), _from_model_config=True) == expected


def _be_as_azure_leaves_it(folder: Path) -> Path:
    (folder / "generation_config.json").unlink()
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "phi3mini"}))
    return folder


def _end_names(folder: Path) -> set[str]:
    loaded = load_model(folder)
    return {str(loaded.tokenizer.convert_ids_to_tokens(token)) for token in loaded.end_token_ids}


def test_what_azures_fine_tuning_leaves_is_served_and_trained_on(tmp_path: Path) -> None:
    folder = _be_as_azure_leaves_it(save_tiny_phi3(tmp_path / "azure"))
    before = (folder / "config.json").read_bytes()
    assert load_model(folder).fingerprint == load_model(save_tiny_phi3(tmp_path / "plain")).fingerprint
    tuned, tokenizer = load_with_adapter(find_model(folder), seed=0)
    tuned.save_pretrained(tmp_path / "adapter")
    merged: Any = tuned
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    assert (tmp_path / "merged" / "generation_config.json").is_file()  # transformers', of config.json
    for served in (folder, tmp_path / "adapter", tmp_path / "merged"):
        assert _end_names(served) == {"<|endoftext|>", "<|end|>"}
    assert (folder / "config.json").read_bytes() == before


@pytest.mark.parametrize("place", ["model", "config", None])
def test_a_configuration_apart_says_how_to_generate_where_the_weights_do_not(tmp_path: Path, place: str | None) -> None:
    model = save_tiny_phi3(tmp_path / "model")
    (tmp_path / "config").mkdir()
    (model / "config.json").rename(tmp_path / "config" / "config.json")
    settings = model / "generation_config.json"
    _ = settings.rename(tmp_path / place / settings.name) if place else settings.unlink()
    loaded = load_settings(model, tmp_path / "config")
    assert loaded["config"].model_type == "phi3"
    ends = {"model": None, "config": [0, 4], None: 0}[place]
    generation = loaded.get("generation_config")
    assert (generation.eos_token_id if generation else None) == ends
