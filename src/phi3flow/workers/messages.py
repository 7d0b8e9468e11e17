"""What the runner and its worker processes say to each other, over two pipes.

A message is a pickle with its length before it. Both ends are ours and run as the same user; what a model or the data
said travels inside as bytes and text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi3flow.flows import Flow
from phi3flow.pacing.failures import Failure
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import Usage


@dataclass(frozen=True)
class OpenFlow:
    """Runner: load this flow with these environment variables; answered by Opened or Refused."""

    flow: Flow
    environment: dict[str, str]


@dataclass(frozen=True)
class ConnectionWanted:
    """Worker: the flow asks for this connection; answered by ConnectionFound or Refused, before anything else."""

    name: str


@dataclass(frozen=True)
class ConnectionFound:
    """Runner: the connection in promptflow's dict form. It holds secrets."""

    definition: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """Either: it cannot be done, and this says why."""

    error: Exception


@dataclass(frozen=True)
class Opened:
    """Worker: the flow is loaded and uses these connections; whether something of it sees all lines at once."""

    connections: dict[str, ConnectionUse]
    has_aggregation: bool = False


@dataclass(frozen=True)
class Begin:
    """Runner: how rows become inputs, the seconds that an attempt may take, and what counts tokens.

    Paths of images in rows are relative to ``data_folder``, those in histories that the run answered to ``run_folder``.
    ``trace``: what each node was given and gave is kept.
    """

    mapping: dict[str, Any]
    timeout_s: float
    tokenizer: Path | None
    data_folder: Path = Path()
    run_folder: Path = Path()
    trace: bool = False


@dataclass(frozen=True)
class BeginEvaluation:
    """Runner: the flow is an evaluation flow; attempts bring answers, which it scores.

    ``mapping`` says how a run's results and rows become its inputs; ``timeout_s`` how long an attempt may take; the
    folders are those of ``Begin``.
    """

    mapping: dict[str, Any]
    timeout_s: float
    data_folder: Path = Path()
    run_folder: Path = Path()


@dataclass(frozen=True)
class Attempt:
    """Runner: execute this line, with ``history`` in place of the row's; ``attempts`` counts this one too.

    ``answer`` is the line of results.jsonl that an evaluation flow scores.
    """

    number: int
    row: bytes
    line_id: str | None
    attempts: int = 1
    history: list[dict[str, Any]] | None = None
    answer: bytes | None = None

    def again(self) -> Attempt:
        """Return the line's next attempt."""
        return replace(self, attempts=self.attempts + 1)


@dataclass(frozen=True)
class Ended:
    """Worker: what became of an attempt; ``failure`` says why it has no answer.

    ``result`` is the line of results.jsonl, or of scores.jsonl, that it would be. ``begun`` has the attempts whose
    execution began since the last message, and how many seconds ago that was. ``aggregation_inputs`` is JSON of what
    the flow's aggregation will want of the line, ``null`` where JSON cannot hold that, None where there is none.
    ``images`` are to be kept in the run's folder before the result, by their paths there, and what ``beside`` has for
    files of that folder is to be appended to them.
    """

    number: int
    result: bytes
    latency_s: float
    usage: Usage | None = None
    failure: Failure | None = None
    begun: tuple[tuple[int, float], ...] = ()
    aggregation_inputs: bytes | None = None
    images: tuple[tuple[str, bytes], ...] = ()
    beside: tuple[tuple[str, bytes], ...] = ()
