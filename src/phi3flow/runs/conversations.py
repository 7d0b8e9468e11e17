"""Which lines belong together: a conversation's lines are one cluster, since they depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi3flow.storage.jsonl import identity

CLUSTER_COLUMN = "conversation_id"


def cluster_labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each row's cluster: its conversation, or itself where it names none; a blank name is none."""
    names = (identity(row.get(CLUSTER_COLUMN)) for row in rows)
    return [f"line {number}" if name is None else f"conversation {name}" for number, name in enumerate(names)]
