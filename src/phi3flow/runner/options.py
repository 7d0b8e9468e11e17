"""How a run is driven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.runs import Prices


@dataclass(frozen=True)
class RunOptions:
    """How a run is driven, and when it gives up.

    ``limits``: how hard the endpoint may be asked; ``fail_fast``: stop after so many failed lines;
    ``max_failures_percent``: stop once more of the lines have failed; ``workers``: processes that execute the flow, in
    Azure nodes; ``tokenizer``: counts the tokens that the endpoint does not report; ``prices`` make money of them;
    ``trace``: keep what each node was given and gave.
    """

    limits: Limits = NO_LIMITS
    fail_fast: int | None = None
    max_failures_percent: float | None = None
    workers: int = 1
    tokenizer: Path | None = None
    prices: Prices | None = None
    trace: bool = False
