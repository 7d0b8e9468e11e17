"""``traces.jsonl``: what each node of a line was given and gave, and what a model was sent."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from phi3flow.records.record import Record

TRACES_FILE = "traces.jsonl"


class ModelCall(Record):
    """A call of a model: ``request`` as its client was given it (messages, model, temperature …), and its answer."""

    request: Any
    answer: Any = None


class NodeTrace(Record):
    """One execution of a node; of a flex flow, of its entry. ``error`` is TYPE: MESSAGE where it failed."""

    node: str
    inputs: Any
    output: Any = None
    error: str | None = None
    duration_ms: float
    calls: list[ModelCall] = Field(default_factory=list)


class LineTrace(Record):
    """A line of ``traces.jsonl``: the nodes of a line's last attempt, in the order in which they ended."""

    line_number: int = Field(ge=0)
    attempts: int
    nodes: list[NodeTrace]
