"""The order of a run that is tested while it goes on is a property of the data."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phi3flow.runner.drawn_order import draw_conversations

rows = st.lists(
    st.fixed_dictionaries({"line_id": st.uuids().map(str)}, optional={"conversation_id": st.sampled_from("abc")}),
    max_size=30,
    unique_by=lambda row: row["line_id"],
)


def _drawn(data: list[dict[str, str]]) -> list[list[str]]:
    """The conversations as the line_ids of their lines."""
    ids = [row["line_id"] for row in data]
    return [[ids[number] for number in numbers] for numbers in draw_conversations(data, ids)]


@given(rows)
def test_each_line_is_drawn_once_and_a_conversation_stays_together_in_order(data: list[dict[str, str]]) -> None:
    drawn = _drawn(data)
    assert sorted(line_id for lines in drawn for line_id in lines) == sorted(row["line_id"] for row in data)
    conversation = {row["line_id"]: row.get("conversation_id", row["line_id"]) for row in data}
    assert [len({conversation[line_id] for line_id in lines}) for lines in drawn] == [1] * len(drawn)
    place = {row["line_id"]: number for number, row in enumerate(data)}
    assert all(lines == sorted(lines, key=place.__getitem__) for lines in drawn)


@given(rows, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_file_nor_its_other_lines_have_a_say(data: list[dict[str, str]], random) -> None:  # type: ignore[no-untyped-def]
    alone = [row for row in data if "conversation_id" not in row]
    shuffled = random.sample(alone, len(alone))
    assert _drawn(alone) == _drawn(shuffled)
    some = [row for row in alone if random.random() < 0.5]
    assert _drawn(some) == [lines for lines in _drawn(data) if any(row["line_id"] == lines[0] for row in some)]


def test_it_is_not_the_order_of_the_file() -> None:
    data = [{"line_id": str(number)} for number in range(200)]
    drawn = [int(lines[0]) for lines in _drawn(data)]
    assert 60 < sum(drawn[:50]) / 50 < 140
