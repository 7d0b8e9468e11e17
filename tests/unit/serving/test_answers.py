"""Answers come out in whole characters, without their stop strings, alike in pieces and as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phi3flow.serving.answers import AnswerText


def _decode(tokens: list[int]) -> str:
    """Decode tokens that are bytes, as a byte-level tokenizer does."""
    return bytes(tokens).decode(errors="replace")


def _write(text: bytes, stop: list[str]) -> tuple[str, list[str], bool]:
    pieces: list[str] = []
    answer = AnswerText(_decode, stop=stop, on_text=pieces.append)
    for token in text:
        answer.push(token)
        if answer.stopped:
            break
    return answer.finish(), pieces, answer.stopped


def test_a_character_of_several_bytes_comes_at_once() -> None:
    assert _write("aé漢".encode(), [])[1] == ["a", "é", "漢"]


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    assert _write(b"one\nQ two\nQuestion: three", ["\nQuestion:"]) == (
        "one\nQ two",
        ["o", "n", "e", "\nQ ", *"two"],
        True,
    )


def test_a_stop_string_that_does_not_come_is_text() -> None:
    assert _write(b"end\nQuest", ["\nQuestion:"]) == ("end\nQuest", ["e", "n", "d", "\nQuest"], False)


def test_a_character_that_stays_unfinished_is_shown_as_such() -> None:
    assert _write("né".encode()[:-1], [])[0] == "n�"


@given(
    st.text(alphabet="ab é漢\n", max_size=40),
    st.lists(st.text(alphabet="ab é漢\n", min_size=1, max_size=4), max_size=3),
)
def test_the_answer_is_the_text_up_to_the_first_stop_string(text: str, stop: list[str]) -> None:
    answer, pieces, stopped = _write(text.encode(), stop)
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(each) for each in stop)]
    first = text[: ends[0]] if ends else text
    longest = max((len(each) for each in stop if first.endswith(each)), default=0) if ends else 0
    assert stopped == bool(ends)
    assert answer == (first[: len(first) - longest] if ends else text)
    assert "".join(pieces) == answer


@given(st.binary(max_size=40))
def test_pieces_add_up_to_the_whole(content: bytes) -> None:
    answer, pieces, _ = _write(content, [])
    assert "".join(pieces) == answer
    whole = AnswerText(_decode)
    for token in content:
        whole.push(token)
    assert whole.finish() == _decode(list(content))
