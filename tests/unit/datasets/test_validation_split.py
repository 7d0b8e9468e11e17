"""A share of the chats kept apart to validate with: no leak, nothing lost, the same for the same content and seed."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.datasets import question_key
from phi3flow.datasets.chat import first_question, questions
from phi3flow.datasets.splitting import tied_conversations
from phi3flow.datasets.validation_split import held_out_rows, split_validation
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import parse_row, read_rows, write_rows
from tests.support.chats import chat

SOURCE = Path("train.jsonl")

_questions = st.text("abcdefghijkl ?.", min_size=1).filter(str.strip)
_chats = st.builds(
    lambda asked, answers: chat(*[text for pair in zip(asked, answers, strict=False) for text in pair]),
    st.lists(_questions, min_size=1, max_size=3),
    st.lists(st.sampled_from("xyz"), min_size=3, max_size=3),
)
_rows = st.lists(_chats, min_size=1, max_size=40)
_shares = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(_rows, _shares, st.integers(0, 3))
def test_a_split_parts_no_question_and_is_within_a_group_of_its_share(
    rows: list[dict], share: float, seed: int
) -> None:
    groups = tied_conversations(rows, seed=seed)
    if len(groups) == 1:
        with pytest.raises(DatasetError, match=rf"\b{len(rows)} conversation"):
            held_out_rows(rows, share=share, seed=seed, source=SOURCE)
        return
    held_out = held_out_rows(rows, share=share, seed=seed, source=SOURCE)
    assert held_out == sorted(set(held_out))
    assert 0 < len(held_out) < len(rows)
    assert all(len({*group} & {*held_out}) in (0, len(group)) for group in groups)
    assert abs(len(held_out) - share * len(rows)) <= max(map(len, groups))
    sides = [[rows[index] for index in range(len(rows)) if (index in held_out) == side] for side in (True, False)]
    keys = [{question_key(question) for row in side for question in questions(row)} for side in sides]
    for side, others in zip(sides, reversed(keys), strict=True):
        assert not {question_key(first_question(row)) for row in side} & others


@given(_rows.filter(lambda rows: len(tied_conversations(rows, seed=0)) > 1), _shares, st.randoms())
def test_the_order_of_the_file_has_no_say(rows: list[dict], share: float, shuffler: random.Random) -> None:
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    held_out, again = (
        Counter(json.dumps(side[index]) for index in held_out_rows(side, share=share, seed=1, source=SOURCE))
        for side in (rows, shuffled)
    )
    assert held_out == again


def test_the_seed_decides_who_is_held_out_and_the_share_how_many() -> None:
    rows = [chat(f"question {number}", "a") for number in range(200)]
    splits = {
        (share, seed): tuple(held_out_rows(rows, share=share, seed=seed, source=SOURCE))
        for share in (0.1, 0.25, 0.5)
        for seed in range(3)
    }
    assert {(share, len(held_out)) for (share, _), held_out in splits.items()} == {(0.1, 20), (0.25, 50), (0.5, 100)}
    assert len({*splits.values()}) == 9


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.999, 9)])
def test_either_side_has_a_chat_where_the_share_would_leave_none(share: float, count: int) -> None:
    rows = [chat(f"question {number}", "a") for number in range(10)]
    assert len(held_out_rows(rows, share=share, seed=0, source=SOURCE)) == count


def test_pairs_that_share_a_question_are_split_where_a_pair_is_more_than_the_share() -> None:
    rows = [chat(f"question {number // 2}", str(number)) for number in range(20)]
    held_out = held_out_rows(rows, share=0.05, seed=0, source=SOURCE)
    assert len(held_out) == 2
    assert held_out[0] // 2 == held_out[1] // 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([chat("q", "a")], r"train.jsonl cannot be split by 0.1: it has 1 conversation, and a side would stay empty"),
        (
            [chat("Same question?", str(number)) for number in range(12)],
            r"its 12 conversations all share questions \(12 begin with 'Same question\?'\)",
        ),
    ],
)
def test_what_leaves_a_side_empty_is_refused_with_the_number_of_conversations(
    rows: list[dict], message: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(DatasetError, match=message):
        split_validation(tmp_path / "train.jsonl", share=0.1, seed=0, folder=tmp_path / "splits")
    assert not (tmp_path / "splits").exists()


def _split(file: Path, **changes: Any) -> list[Path]:
    split = split_validation(file, folder=file.parent / "splits", **{"share": 0.25, "seed": 0, **changes})
    return [split.train, split.validation]


def test_lines_stay_as_they_are_written_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = [
        f'{{ "n": {number}.50, "messages": {json.dumps(chat(f"q{number}", "ä")["messages"])}, "tags": [] }}'
        for number in range(8)
    ]
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    train, validation = (file.read_text(encoding="utf-8").splitlines() for file in _split(tmp_path / "train.jsonl"))
    assert (len(train), len(validation)) == (6, 2)
    assert sorted(train + validation, key=lines.index) == lines
    assert all(side == sorted(side, key=lines.index) for side in (train, validation))
    assert parse_row(train[0].encode())["tags"] == []


def test_the_same_content_share_and_seed_are_the_same_files_left_alone(tmp_path: Path) -> None:
    for name in ("train.jsonl", "copy.jsonl"):
        write_rows(tmp_path / name, (chat(f"question {number}", "a") for number in range(20)))
    first = _split(tmp_path / "train.jsonl")
    inodes = [file.stat().st_ino for file in first]
    assert _split(tmp_path / "copy.jsonl") == first
    assert [file.stat().st_ino for file in first] == inodes
    folders = [_split(tmp_path / "train.jsonl", **change)[0].parent for change in ({"seed": 1}, {"share": 0.3})]
    assert len({first[0].parent, *folders}) == 3


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_file_that_is_missing_or_damaged_is_written_again(damage: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", (chat(f"question {number}", "a") for number in range(20)))
    train, validation = _split(tmp_path / "train.jsonl")
    content = validation.read_bytes()
    damage(validation)
    assert _split(tmp_path / "train.jsonl") == [train, validation]
    assert validation.read_bytes() == content
    assert [file.name for file in sorted(train.parent.iterdir())] == ["train.jsonl", "validation.jsonl"]


def test_what_is_no_chat_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(DatasetError, match=r"train.jsonl:1: messages must be a list"):
        _split(tmp_path / "train.jsonl")
    assert [*read_rows(tmp_path / "train.jsonl")]
