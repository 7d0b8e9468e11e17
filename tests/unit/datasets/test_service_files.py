"""Chat files as fine-tuning services take them: their bytes, their bounds, and what is lost on the way."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.datasets import read_chats
from phi3flow.datasets.service_files import ServiceFile, write_for_service
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import write_rows
from tests.support.chats import chat

SERVERLESS = ("role", "content")
AZURE_OPENAI = ("role", "content", "name", "weight")


def written(rows: list[dict], folder: Path, **settings: Any) -> tuple[ServiceFile, bytes]:
    """Return what was written for a service of these rows."""
    write_rows(folder / "train.jsonl", rows)
    settings = {"message_keys": AZURE_OPENAI, **settings}
    file = write_for_service(folder / "train.jsonl", folder / "out" / "train.jsonl", **settings)
    return file, file.path.read_bytes()


def weighted(**keys: Any) -> dict:
    """Return a row whose first answer has these keys."""
    row = chat("Who?", "Anna", "And who else?", "Bob", system="Be brief.", prompt_id="7")
    row["messages"][0]["name"] = "rules"
    row["messages"][2].update(keys)
    return row


def test_a_file_has_a_byte_order_mark_and_messages_of_known_keys_only(tmp_path: Path) -> None:
    row = weighted(weight=0, refusal=None)
    row["messages"][1] |= {"weight": 1, "id": 9}
    file, content = written([row, chat("é", "ü\n")], tmp_path)
    assert content.decode() == (
        "\ufeff"
        '{"messages":[{"role":"system","content":"Be brief.","name":"rules"},{"role":"user","content":"Who?"},'
        '{"role":"assistant","content":"Anna","weight":0},{"role":"user","content":"And who else?"},'
        '{"role":"assistant","content":"Bob"}]}\n'
        '{"messages":[{"role":"user","content":"é"},{"role":"assistant","content":"ü\\n"}]}\n'
    )
    assert (file.size_bytes, file.examples, file.weights_lost) == (len(content), 2, 0)
    assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_weights_that_a_service_does_not_know_are_counted(tmp_path: Path) -> None:
    rows = [weighted(weight=0), weighted(weight=0.0), weighted(weight=1), weighted()]
    file, content = written(rows, tmp_path, message_keys=SERVERLESS)
    assert file.weights_lost == 2
    messages = [
        message for line in content.decode("utf-8-sig").splitlines() for message in json.loads(line)["messages"]
    ]
    assert {tuple(message) for message in messages} == {SERVERLESS}


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
_rows = st.lists(
    st.builds(
        lambda question, answer, weight: _answered(question, answer, weight),
        _texts,
        _texts,
        st.sampled_from([None, 0, 1]),
    ),
    min_size=1,
    max_size=6,
)


def _answered(question: str, answer: str, weight: int | None) -> dict:
    row = chat(question, answer)
    if weight is not None:
        row["messages"][1]["weight"] = weight
    return row


def _as_somebody_writes_it(row: dict, random_: random.Random) -> bytes:
    messages = [dict(random_.sample(list(message.items()), len(message))) for message in row["messages"]]
    items = [("messages", messages), ("source", random_.random())]
    random_.shuffle(items)
    return json.dumps(dict(items), ensure_ascii=random_.random() < 0.5, indent=None).encode()


@given(_rows, st.randoms(use_true_random=False), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans())
def test_the_same_chats_are_the_same_bytes_however_their_file_was_written(
    rows: list[dict], random_: random.Random, line_end: bytes, has_mark: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        lines = line_end.join(_as_somebody_writes_it(row, random_) for row in rows)
        (folder / "other.jsonl").write_bytes((b"\xef\xbb\xbf" if has_mark else b"") + lines)
        other = write_for_service(folder / "other.jsonl", folder / "o.jsonl", message_keys=AZURE_OPENAI)
        file, _ = written(rows, folder)
        assert other.sha256 == file.sha256
        assert read_chats(file.path) == rows


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    rows = [chat(f"question {number}", "a") for number in range(10)]
    with pytest.raises(DatasetError, match=r"train.jsonl has 9 examples; the service takes at least 10$"):
        written(rows[:9], tmp_path, fewest_examples=10)
    assert written(rows, tmp_path, fewest_examples=10)[0].examples == 10


def test_a_file_that_is_too_large_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    rows = [chat("question", "x" * 1024**2)] * 3
    with pytest.raises(DatasetError, match=r"train.jsonl is 3.0 MB as the service gets it, .* less than 3 MB"):
        written(rows, tmp_path, limit_bytes=3 * 1024**2)
    assert not (tmp_path / "out").exists()
    file, _ = written(rows, tmp_path)
    with pytest.raises(DatasetError, match="less than 3 MB"):
        written(rows, tmp_path, limit_bytes=file.size_bytes)
    assert written(rows, tmp_path, limit_bytes=file.size_bytes + 1)[0] == file


@pytest.mark.parametrize("name", [7, "", ["a"]])
def test_a_name_that_is_no_text_is_refused_where_names_are_kept(name: object, tmp_path: Path) -> None:
    row = weighted(name=name)
    with pytest.raises(DatasetError, match=r"train.jsonl:1: message 3: name must be a text: "):
        written([row], tmp_path)
    assert written([row], tmp_path, message_keys=SERVERLESS)[0].examples == 1


def test_a_missing_name_and_weight_are_left_out(tmp_path: Path) -> None:
    assert b"null" not in written([weighted(name=None, weight=None)], tmp_path)[1]


def test_what_is_no_chat_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train.jsonl:2: messages must be a list"):
        written([chat("q", "a"), {"messages": None}], tmp_path)
