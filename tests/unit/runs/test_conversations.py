"""Which lines are a conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.runs.conversations import cluster_labels


def test_an_empty_or_blank_conversation_id_is_no_conversation():
    rows = [{"conversation_id": name} for name in ("a", "", "  ", None, "a", 7)] + [{}]
    labels = cluster_labels(rows)
    assert labels[0] == labels[4]
    assert len(set(labels)) == len(rows) - 1


@pytest.mark.parametrize("column", ["Conversation_ID", "conversationId", "session-id", "THREAD ID"])
def test_a_conversation_is_known_however_its_column_is_spelled(column):
    rows = [{"question": "q", column: number // 2, "id": number} for number in range(6)]
    assert len(set(cluster_labels(rows))) == 3
    both = [{**row, "conversation_id": number} for number, row in enumerate(rows)]
    assert len(set(cluster_labels(both))) == 6, "conversation_id itself comes first"


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_two_lines_are_of_one_conversation_where_either_data_says_so(names):
    data = [[{"conversation_id": pair[side] or None} for pair in names] for side in (0, 1)]
    labels, mirrored = cluster_labels(*data), cluster_labels(*reversed(data))
    graph = _components(names)
    for i in range(len(names)):
        for j in range(len(names)):
            assert (labels[i] == labels[j]) == (graph[i] == graph[j]) == (mirrored[i] == mirrored[j])


def _components(names: list[tuple[int, int]]) -> list[int]:
    """Return each line's component, by spreading the least number until nothing changes; 0 names nothing."""
    components = list(range(len(names)))
    for _ in names:
        for i, one in enumerate(names):
            for j, other in enumerate(names):
                if any(a == b != 0 for a, b in zip(one, other, strict=True)):
                    components[i] = components[j] = min(components[i], components[j])
    return components


def test_renumbered_conversations_are_the_same():
    first = [{"conversation_id": name} for name in "aabb"]
    second = [{"conversation_id": name} for name in "bbaa"]
    one, two, three, four = cluster_labels(first, second)
    assert one == two != three == four
