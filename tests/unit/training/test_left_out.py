"""What a training would leave out of its files: counted before it begins, refused where it is much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import write_rows
from phi3flow.training import check_examples, fine_tune_config
from phi3flow.training.inputs import read_inputs
from tests.support.chats import chat
from tests.support.folders.small_training import small_base
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("phi3"))


def late(number: int) -> dict[str, Any]:
    """Return a chat whose answer lies beyond 40 tokens and within 256."""
    return chat(f"{number} " + "word " * 20, "Yes.")


def remarks_of(folder: Path, rows: list[dict[str, Any]], model: Path | None, **changes: Any) -> list[str]:
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "validation.jsonl", [chat("short", "Yes.")])
    config = fine_tune_config(
        train=folder / "train.jsonl",
        validation=folder / "validation.jsonl",
        model=model,
        hyperparameters={"max_seq_length": 40},
        **changes,
    )
    return check_examples(config, read_inputs(config))


def test_nothing_left_out_is_nothing_said(model: Path, tmp_path: Path) -> None:
    assert remarks_of(tmp_path, [chat("short", "Yes.")], model) == []


def test_more_than_a_twentieth_without_an_answer_is_refused_with_what_keeps_it(model: Path, tmp_path: Path) -> None:
    rows = [chat(f"q {n}", "a") for n in range(20)] + [late(n) for n in range(40)]
    with pytest.raises(DatasetError) as caught:
        remarks_of(tmp_path, rows, model)
    said = str(caught.value)
    place = tmp_path / "train.jsonl"
    assert f"{place}: of 60 examples 40 left out, no answer within 40 tokens ({place}:21, {place}:22," in said
    assert "To leave out more than 5% is refused" in said
    length = said.split("--max-seq-length ")[1].split()[0]
    config_rows = [chat(f"q {n}", "a") for n in range(20)] + [late(n) for n in range(40)]
    write_rows(tmp_path / "train.jsonl", config_rows)
    config = fine_tune_config(
        train=tmp_path / "train.jsonl",
        validation=tmp_path / "validation.jsonl",
        model=model,
        hyperparameters={"max_seq_length": int(length)},
    )
    assert check_examples(config, read_inputs(config)) == []


def test_fewer_are_left_out_and_said_with_those_that_are_cut_or_have_no_weight(model: Path, tmp_path: Path) -> None:
    silent = chat("q", "a")
    silent["messages"][1]["weight"] = 0
    rows = [*(chat(f"q {n}", "a") for n in range(30)), late(1), chat("q", "a " * 60), silent]
    (remark,) = remarks_of(tmp_path, rows, model)
    assert "of 33 examples 1 left out, no answer within 40 tokens" in remark
    assert "1 cut at 40 tokens; 1 with nothing to learn, weight 0" in remark
    assert "keeps all of them whole" in remark


def test_what_no_flag_can_keep_says_what_the_model_reads(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        remarks_of(tmp_path, [chat("word " * 400, "Yes.")], model)
    assert f"--model {model} reads {CONTEXT_TOKENS} tokens: shorten them, or take a --model that reads" in str(
        caught.value
    )


def test_the_tiny_base_is_asked_before_it_is_trained(tmp_path: Path) -> None:
    base = small_base(tmp_path / "base")
    with pytest.raises(DatasetError) as caught:
        remarks_of(tmp_path, [chat("Zürich " * 300, "Yes.")], None, base=base)
    assert "The tiny base model (BaseConfig.context_tokens) reads 256 tokens" in str(caught.value)
    assert not base.folder.exists()


def test_a_file_in_which_nothing_has_weight_is_refused(model: Path, tmp_path: Path) -> None:
    silent = chat("q", "a")
    silent["messages"][1]["weight"] = 0
    with pytest.raises(DatasetError, match="of 1 example 1 with nothing to learn"):
        remarks_of(tmp_path, [silent], model)
