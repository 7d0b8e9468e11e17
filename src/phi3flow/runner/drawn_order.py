"""The order in which a run that is tested while it goes on takes its lines: drawn once, and a property of the data.

A conversation stays together. Its place is a hash of its name, or of a line's line_id, so that every opening of a run,
every candidate and every ``--limit`` has the same order: a larger limit goes on where a smaller one ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from phi3flow.runs.conversations import cluster_labels

_SEED = "phi3flow 0"


def draw_conversations(rows: Sequence[Mapping[str, Any]], line_ids: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the lines of each conversation, those in order; a line without one is its own."""
    conversations: dict[str, list[int]] = {}
    for number, (label, line_id) in enumerate(zip(cluster_labels(rows), line_ids, strict=True)):
        is_alone = label == f"line {number}"
        conversations.setdefault(f"line {line_id}" if is_alone else label, []).append(number)
    return [conversations[label] for label in sorted(conversations, key=_place)]


def _place(label: str) -> bytes:
    return blake2b(f"{_SEED} {label}".encode()).digest()
