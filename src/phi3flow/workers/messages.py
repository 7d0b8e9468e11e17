"""What the runner and its worker processes say to each other, over two pipes.

A message is a pickle with its length before it. Both ends are ours and run as the same user; what a model or the data
said travels inside as bytes and text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi3flow.flows import Flow
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import Usage


@dataclass(frozen=True)
class OpenFlow:
    """Runner: load this flow with these environment variables; answered by Opened or Refused."""

    flow: Flow
    environment: dict[str, str]


@dataclass(frozen=True)
class ConnectionWanted:
    """Worker: the flow asks for this connection; answered by Connection or Refused, before anything else."""

    name: str


@dataclass(frozen=True)
class Connection:
    """Runner: the connection in promptflow's dict form. It holds secrets."""

    definition: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """Either: it cannot be done, and this says why."""

    error: Exception


@dataclass(frozen=True)
class Opened:
    """Worker: the flow is loaded and uses these connections."""

    connections: dict[str, ConnectionUse]


@dataclass(frozen=True)
class Begin:
    """Runner: how rows become inputs, the seconds that an attempt may take, and what counts tokens."""

    mapping: dict[str, Any]
    timeout_s: float
    tokenizer: Path | None


@dataclass(frozen=True)
class Attempt:
    """Runner: execute this line, with ``history`` in place of the row's; ``attempts`` counts this one too."""

    number: int
    row: bytes
    line_id: str | None
    attempts: int
    history: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Ended:
    """Worker: what became of an attempt. ``result`` is the line of results.jsonl that it would be.

    ``begun`` has the attempts whose execution began since the last message, and how many seconds ago that was.
    """

    number: int
    completed: bool
    result: bytes
    latency_s: float
    usage: Usage | None = None
    retryable: bool = False
    timed_out: bool = False
    status_code: int | None = None
    retry_after_s: float | None = None
    message: str = ""
    begun: tuple[tuple[int, float], ...] = ()
