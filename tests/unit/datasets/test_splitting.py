"""Deduplication, and splitting without leakage."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phi3flow.datasets import Splits, evaluation_lines, normalise, question_key
from phi3flow.datasets.chat import questions
from phi3flow.datasets.splitting import deduplicate, shared_questions, split_conversations
from phi3flow.errors import DatasetError
from tests.support.chats import chat

RATIOS = (80, 10, 10)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello,  World!", "hello world"), ("¿Qué?", "qué"), ("ＡＢＣ。", "abc"), ("“Yes”", "yes"), ("a\n b", "A B.")],
)
def test_normalising_forgets_case_width_space_and_sentence_marks(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("C++", "C#"), ("1.5", "15"), ("a != b", "a = b"), ("-5", "5"), ("🙂", "🙁")]
)
def test_normalising_keeps_what_changes_the_meaning(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_a_question_is_known_again_across_articles_marks_and_hyphens() -> None:
    assert question_key("What's the e-mail?") == question_key("whats  E mail")
    assert question_key("?!") == "?!"
    assert question_key("안녕하세요!") != question_key("안녕히 계세요!")


def test_exact_and_normalised_duplicates_are_told_apart() -> None:
    rows = [chat("Q?", "a", prompt_id="1"), chat("Q?", "a", prompt_id="2"), chat("q", "A."), chat("q", "b")]
    left = deduplicate(rows)
    assert (left.rows, left.exact, left.normalised) == ([rows[0], rows[3]], 1, 1)
    with_system = [chat("q", "a"), chat("q", "a", system="s")]
    assert deduplicate(with_system).rows == with_system


_questions = st.text("abcdefgh ?.", min_size=1).filter(str.strip)


_chats = st.builds(
    lambda asked, answers: chat(*[text for pair in zip(asked, answers, strict=False) for text in pair]),
    st.lists(_questions, min_size=1, max_size=3),
    st.lists(st.sampled_from("xyz"), min_size=3, max_size=3),
)


def _held(splits: Splits) -> list[dict]:
    return [row for _, rows in splits.items() for row in rows]


@given(st.lists(_chats, min_size=3, max_size=40), st.integers(0, 3), st.randoms(use_true_random=False))
def test_splitting_loses_nothing_parts_no_question_and_repeats_itself(
    rows: list[dict], seed: int, shuffler: random.Random
) -> None:
    rows = deduplicate(rows).rows
    try:
        splits = split_conversations(rows, ratios=RATIOS, seed=seed)
    except DatasetError:
        assume(False)  # few conversations that share their questions
    assert sorted(map(str, _held(splits))) == sorted(map(str, rows))
    shared = shared_questions(splits)
    for name, held in splits.items():
        others = {question_key(q) for other, o in splits.items() if other != name for r in o for q in questions(r)}
        assert not {question_key(questions(row)[0]) for row in held} & others
    lines = list(evaluation_lines(splits.test))
    seen = {question_key(q) for row in splits.train + splits.validation for q in questions(row)}
    assert shared == {question_key(line["question"]) for line in lines} & seen
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    again = split_conversations(shuffled, ratios=RATIOS, seed=seed)
    assert [sorted(map(str, held)) for _, held in again.items()] == [sorted(map(str, h)) for _, h in splits.items()]


def test_the_ratios_are_met_and_the_seed_decides() -> None:
    rows = [chat(f"question {number}", "a") for number in range(200)]
    splits = split_conversations(rows, ratios=RATIOS, seed=1)
    assert [len(held) for _, held in splits.items()] == [160, 20, 20]
    assert split_conversations(rows, ratios=RATIOS, seed=2).test != splits.test
    assert [len(held) for _, held in split_conversations(rows, ratios=(80, 20, 0), seed=1).items()] == [160, 40, 0]


@pytest.mark.parametrize("names", [["one"] * 4, [7] * 4, [7, "7", 7.0, "7"]], ids=["text", "number", "mixed"])
def test_conversations_of_one_name_or_with_a_shared_question_stay_together(names: list[Any]) -> None:
    rows = [chat(f"question {number}", "a") for number in range(60)]
    rows += [chat(f"part {number}", "a", conversation_id=name) for number, name in enumerate(names)]
    rows += [chat("Same question?", str(number)) for number in range(4)]
    splits = split_conversations(rows, ratios=(50, 25, 25), seed=0)
    for tied in (rows[60:64], rows[64:]):
        assert [sum(row in tied for row in held) for _, held in splits.items()].count(0) == 2


def test_a_question_that_is_only_read_ties_nothing() -> None:
    """Rows whose turns before have weight 0 may all begin alike."""
    rows = [chat("hi", "hello", f"question {number}", "a") for number in range(40)]
    for row in rows:
        row["messages"][1]["weight"] = 0
    splits = split_conversations(rows, ratios=RATIOS, seed=0)
    assert [len(held) for _, held in splits.items()] == [32, 4, 4]
    shared_questions(splits)
    lines = list(evaluation_lines(splits.test))
    assert {line["question"] for line in lines} <= {f"question {number}" for number in range(40)}


def test_a_question_that_all_share_cannot_be_split() -> None:
    rows = [chat("Same question?", str(number)) for number in range(10)]
    with pytest.raises(
        DatasetError, match=r"10 conversations fall into 1 groups .* \(10 of them begin with 'Same question"
    ):
        split_conversations(rows, ratios=RATIOS, seed=0)
    with pytest.raises(DatasetError, match="2 conversations are too few"):
        split_conversations(rows[:2], ratios=RATIOS, seed=0)
