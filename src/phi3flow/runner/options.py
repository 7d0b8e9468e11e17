"""How a run is driven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phi3flow.flows import Flow
from phi3flow.records import Prices
from phi3flow.run_store import RunFolder

Engine = Literal["local", "ray", "azureml", "foundry"]
History = Literal["given", "own"]


@dataclass(frozen=True)
class RunOptions:
    """Bounds of a run.

    ``concurrency``: attempts in flight, None to find it; ``rpm`` and ``tpm``: requests and tokens a minute;
    ``timeout_s``: seconds an attempt may take; ``max_retries``: retries a line may have (a run has as many as lines,
    and 100); ``fail_fast``: stop after so many failed lines; ``max_failures_percent``: stop once more of the lines
    have failed; ``outage_s``: how long a run waits for an endpoint that gives no answer (two minutes for the first), or
    asks for time; ``workers``: processes that execute the flow, in Azure nodes; ``engine``: where they are, this
    machine, a Ray cluster or Azure; ``tokenizer``: counts the tokens that the endpoint does not report; ``prices`` make
    money of them.
    """

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    timeout_s: float = 180.0
    max_retries: int = 5
    fail_fast: int | None = None
    max_failures_percent: float | None = None
    outage_s: float = 900.0
    workers: int = 1
    engine: Engine = "local"
    tokenizer: Path | None = None
    prices: Prices | None = None


@dataclass(frozen=True)
class StopRule:
    """Stop when the run's ``metric`` by ``evaluation`` is shown to be better or worse than ``baseline``'s."""

    baseline: RunFolder
    evaluation: Flow
    metric: str

    @property
    def name(self) -> str:
        """The metric's full name."""
        return f"{self.evaluation.name}.{self.metric}"
