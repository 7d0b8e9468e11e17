"""Chat rows, deduplication, splitting without leakage, evaluation lines and token counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phi3flow.datasets import Splits, evaluation_lines, normalise, question_key, read_chats
from phi3flow.datasets.chat import breaches, questions
from phi3flow.datasets.preparation import write_dataset
from phi3flow.datasets.splitting import deduplicate, shared_questions, split_conversations
from phi3flow.datasets.tokens import example_tokens, histogram, statistics
from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import read_rows, write_rows

RATIOS = (80, 10, 10)


def chat(*contents: str, system: str | None = None, **others: object) -> dict:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    opening = [{"role": "system", "content": system}] if system else []
    return {"messages": opening + messages, **others}


def message(role: object, content: object) -> dict:
    return {"role": role, "content": content}


def test_a_right_chat_has_no_breach() -> None:
    assert list(breaches(chat("q", "a", "q2", "a2", system="be kind", prompt_id="7"))) == []


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({}, ["messages must be a list of messages: missing"]),
        ({"messages": "hi"}, ["messages must be a list of messages: 'hi'"]),
        ({"messages": []}, ["messages must be a list of messages: []"]),
        ({"messages": ["hi"]}, ["message 1: not an object: 'hi'"]),
        (
            {"messages": [message("bot", " "), message("user", 3)]},
            [
                "message 1: role must be system, user or assistant: 'bot'",
                "message 1: content is empty: ' '",
                "message 2: content must be a string: 3",
            ],
        ),
        ({"messages": [{"role": "user"}]}, ["message 1: content must be a string: missing"]),
        (chat("q"), ["the last message must be an assistant's: user"]),
        (
            {"messages": [message("system", "s")]},
            ["the last message must be an assistant's: system"],
        ),
        (
            {"messages": [message("user", "q"), message("system", "s"), message("assistant", "a")]},
            ["message 2: a system message stands first or not at all"],
        ),
        (
            {"messages": [message("assistant", "a")]},
            ["message 1: user and assistant take turns, user first: assistant where user is due"],
        ),
        (
            {"messages": [message("user", "q"), message("user", "q"), message("assistant", "a")]},
            ["message 2: user and assistant take turns, user first: user where assistant is due"],
        ),
    ],
)
def test_every_breach_of_a_row_is_named(row: dict, reasons: list[str]) -> None:
    assert list(breaches(row)) == reasons


def test_reading_chats_lists_every_breach_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages":[]}\n\nnonsense\n{"messages":[{"role":"user","content":"q"}]}\n')
    with pytest.raises(DatasetError) as caught:
        read_chats(path)
    assert str(caught.value).splitlines() == [
        "3 breaches of the chat format:",
        f"{path}:1: messages must be a list of messages: []",
        f"{path}:3: not JSON (Expecting value, column 1): nonsense",
        f"{path}:4: the last message must be an assistant's: user",
    ]


def test_reading_chats_keeps_other_keys_and_refuses_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    write_rows(path, [chat("q", "a", prompt_id="7")])
    assert read_chats(path) == [chat("q", "a", prompt_id="7")]
    write_rows(path, [])
    with pytest.raises(DatasetError, match="holds no conversation"):
        read_chats(path)


def test_there_is_an_evaluation_line_for_each_assistant_turn() -> None:
    row = chat("q1", "a1", "q2", "a2", system="s", conversation_id="c", values=[["1"], []], kind="k", language="de")
    first, second = evaluation_lines([row])
    assert first | {"line_id": ""} == {
        "line_id": "",
        "conversation_id": "c",
        "question": "q1",
        "chat_history": [],
        "context": "s",
        "ground_truth": "a1",
        "values": ["1"],
        "kind": "k",
        "language": "de",
    }
    assert second["chat_history"] == [{"inputs": {"question": "q1"}, "outputs": {"answer": "a1"}}]
    assert (second["question"], second["ground_truth"], second["values"]) == ("q2", "a2", [])
    assert first["line_id"] != second["line_id"]
    assert list(evaluation_lines([row], last_turn_only=True)) == [second]


@pytest.mark.parametrize("values", [[1, 2], [["x"]], "x", [["x"], [3]], None])
def test_a_values_column_of_another_meaning_is_left_alone(values: object) -> None:
    lines = evaluation_lines([chat("q1", "a1", "q2", "a2", values=values)])
    assert [line["values"] for line in lines] == [[], []]


def test_a_conversation_is_named_by_its_id_its_prompt_id_or_its_content() -> None:
    rows = [chat("q", "a", conversation_id="c", prompt_id="p"), chat("q", "a", prompt_id="p"), chat("q", "a")]
    names = [line["conversation_id"] for line in evaluation_lines(rows)]
    assert names[:2] == ["c", "p"]
    assert len(names[2]) == 64


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


def test_conversations_of_one_name_or_with_a_shared_question_stay_together() -> None:
    rows = [chat(f"question {number}", "a") for number in range(60)]
    rows += [chat(f"part {number}", "a", conversation_id="one") for number in range(4)]
    rows += [chat("Same question?", str(number)) for number in range(4)]
    splits = split_conversations(rows, ratios=(50, 25, 25), seed=0)
    for tied in (rows[60:64], rows[64:]):
        assert [sum(row in tied for row in held) for _, held in splits.items()].count(0) == 2


def test_thanks_that_everybody_says_ties_nobody_and_is_not_evaluated(tmp_path: Path) -> None:
    rows = [chat(f"question {number}", "a", "Thank you!", "Welcome.") for number in range(40)]
    splits = split_conversations(rows, ratios=RATIOS, seed=0)
    assert [len(held) for _, held in splits.items()] == [32, 4, 4]
    card = write_dataset(splits, out=tmp_path, source={}, seed=0)
    assert card.leakage.test_lines_left_out == 4
    assert card.files["test_lines.jsonl"].rows == 4
    lines = {row["question"] for _, row in read_rows(tmp_path / "test_lines.jsonl")}
    assert lines == {questions(row)[0] for row in splits.test}


def test_a_question_that_all_share_cannot_be_split() -> None:
    rows = [chat("Same question?", str(number)) for number in range(10)]
    with pytest.raises(DatasetError, match="10 conversations fall into 1 groups"):
        split_conversations(rows, ratios=RATIOS, seed=0)
    with pytest.raises(DatasetError, match="2 conversations are too few"):
        split_conversations(rows[:2], ratios=RATIOS, seed=0)


def test_a_split_that_leaks_is_not_written(tmp_path: Path) -> None:
    leaky = Splits(train=[chat("other", "a", "What is it?", "b")], validation=[], test=[chat("what is IT", "c")])
    with pytest.raises(DatasetError, match="the test question 'what is IT' also stands in train"):
        write_dataset(leaky, out=tmp_path / "out", source={}, seed=0)
    assert not (tmp_path / "out").exists()


def test_tokens_are_counted_as_the_cookbook_counts_them() -> None:
    row = {"messages": [{"role": "user", "content": "one two", "name": "ann"}, message("assistant", "three")]}
    words = example_tokens(row, lambda text: len(text.split()))
    assert words == 3 + (3 + 1 + 1 + 2 + 1) + (3 + 1 + 1)


def test_statistics_of_tokens_interpolate_quantiles() -> None:
    found = statistics(range(1, 102))
    assert found is not None
    assert found.model_dump() == {
        "n": 101, "min": 1, "max": 101, "mean": 51.0, "median": 51.0, "p5": 6.0, "p95": 96.0,
    }  # fmt: skip
    assert statistics([]) is None


@given(st.lists(st.integers(0, 5000)))
def test_a_histogram_holds_every_count_once(counts: list[int]) -> None:
    bins = histogram(counts)
    assert len(bins) <= 10
    assert [sum(each.low <= count <= each.high for count in counts) for each in bins] == [b.count for b in bins]
    assert sum(each.count for each in bins) == len(counts)
