"""Which lines are a conversation."""

from __future__ import annotations

from phi3flow.runs.conversations import cluster_labels


def test_an_empty_or_blank_conversation_id_is_no_conversation():
    rows = [{"conversation_id": name} for name in ("a", "", "  ", None, "a", 7)] + [{}]
    labels = cluster_labels(rows)
    assert labels[0] == labels[4]
    assert len(set(labels)) == len(rows) - 1
