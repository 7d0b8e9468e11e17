"""Which lines belong together: a conversation's lines are one cluster, since they depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi3flow.storage.conversation_names import conversation_column
from phi3flow.storage.jsonl import identity


def cluster_labels(*data: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each line's cluster: its conversation, or itself where it names none; a blank name is none.

    Of the same lines in several ``data`` two are of one conversation where any of these says so, in any order.
    """
    labels = [_labels(rows) for rows in data]
    first = labels[0]
    for other in labels[1:]:
        if other != first:
            first = _joined(first, other)
    return first


def conversation_name(row: Mapping[str, Any]) -> str | None:
    """Return the name of a row's conversation, None where it has none."""
    column = conversation_column(row)
    return identity(row[column]) if column else None


def _labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = map(conversation_name, rows)
    return [f"line {number}" if name is None else f"conversation {name}" for number, name in enumerate(names)]


def _joined(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the clusters of lines that share one in either."""
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def root(label: tuple[int, str]) -> tuple[int, str]:
        while (parent := parents.setdefault(label, label)) != label:
            parents[label] = parents.setdefault(parent, parent)
            label = parent
        return label

    for left, right in zip(first, second, strict=True):
        parents[root((1, right))] = root((0, left))
    numbers = dict[tuple[int, str], int]()
    return [f"cluster {numbers.setdefault(root((0, label)), len(numbers))}" for label in first]
