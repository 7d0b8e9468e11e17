"""Datasets as they are written: no split leaks, and no line that train has is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.datasets import Splits
from phi3flow.datasets.chat import questions
from phi3flow.datasets.preparation import Output, write_dataset
from phi3flow.datasets.splitting import split_conversations
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import read_rows
from tests.support.chats import chat

RATIOS = (80, 10, 10)


def test_thanks_that_everybody_says_ties_nobody_and_is_not_evaluated(tmp_path: Path) -> None:
    rows = [chat(f"question {number}", "a", "Thank you!", "Welcome.") for number in range(40)]
    splits = split_conversations(rows, ratios=RATIOS, seed=0)
    assert [len(held) for _, held in splits.items()] == [32, 4, 4]
    card = write_dataset(splits, output=Output(folder=tmp_path), source={}, seed=0)
    assert card.leakage.test_lines_left_out == 4
    assert card.files["test_lines.jsonl"].rows == 4
    lines = {row["question"] for _, row in read_rows(tmp_path / "test_lines.jsonl")}
    assert lines == {questions(row)[0] for row in splits.test}


def test_a_split_that_leaks_is_not_written(tmp_path: Path) -> None:
    leaky = Splits(train=[chat("other", "a", "What is it?", "b")], validation=[], test=[chat("what is IT", "c")])
    with pytest.raises(DatasetError, match="the test question 'what is IT' also stands in train"):
        write_dataset(leaky, output=Output(folder=tmp_path / "out"), source={}, seed=0)
    assert not (tmp_path / "out").exists()
