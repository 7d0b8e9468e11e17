"""What the report says of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.errors import ConfigError
from phi3flow.report import read_training
from phi3flow.report.training_view import view_training
from tests.support.folders.training_records import training_record


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(5.0, 6.0, "Forgetting: "), (5.0, 5.1, "No notable forgetting"), (5.0, 4.0, "No forgetting: ")],
)
def test_forgetting_is_named(before: float, after: float, word: str) -> None:
    record = training_record(before={"general_perplexity": before}, after={"general_perplexity": after})
    sentence = view_training(record).forgetting
    assert sentence is not None
    assert sentence.startswith(word)
    assert view_training(training_record(before={}, after={})).forgetting is None


def test_training_is_read_from_a_folder_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(training_record().model_dump_json(), encoding="utf-8")
    assert read_training(tmp_path) == read_training(tmp_path / "training.json") == training_record()


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("{}", "backend: Field required")])
def test_what_is_no_training_record_is_named(tmp_path: Path, content: str | None, reason: str) -> None:
    if content:
        (tmp_path / "training.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"training.json.*{reason}"):
        read_training(tmp_path)
