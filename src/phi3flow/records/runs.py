"""The run folder's manifest: what a run was made of and with, and what became of it.

Field names and meanings are those of docs/run-folder.md. Unknown keys are refused, so that a file written
by a newer version is not half understood.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from phi3flow.records.comparisons import StoppedEarly
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError
from phi3flow.records.record import SCHEMA_VERSION, Record

RunStatus = Literal["Running", "Completed", "Failed", "Canceled"]
History = Literal["given", "own"]
"""Whose answers a line's chat history has: the data's, or the model's own."""


class Prices(Record):
    """What a million tokens cost, in and out, in any one currency."""

    tokens_in: float
    tokens_out: float


class TokenTotal(Record):
    """The tokens of a run's completed lines, and what they cost.

    ``n_endpoint`` lines were counted by the endpoint, ``n_tokenizer`` by the tokenizer, ``n_unknown`` by nobody.
    ``cost`` is that of the lines that were counted, in the currency of the prices, which are for a million tokens; None
    without prices, and where no line was counted.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    n_endpoint: int = 0
    n_tokenizer: int = 0
    n_unknown: int = 0
    cost: float | None = None


class Counts(Record):
    """How many lines a run has and what became of them; ``retries`` = attempts beyond each line's first."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    retries: int = 0


class RunParameters(Record):
    """How a run was made, beyond flow, data and mapping. What is as by default stands in no file.

    ``connections`` are those that took others' place ({"node.input": name}), ``init`` the arguments of a flex flow's
    class; the first ``lines`` of the data ran ``repeats`` times, or some of them once, where a run that is tested while
    it goes on was limited; ``engine`` and its ``jobs`` are told of a run in the
    cloud, ``made_by`` of one that was not made here.
    """

    timeout_s: float | None = None
    max_retries: int | None = None
    connections: dict[str, str] | None = None
    history: History = "given"
    init: dict[str, Any] = Field(default_factory=dict)
    repeats: int = 1
    lines: int | None = None
    prices: Prices | None = None
    engine: str | None = None
    jobs: tuple[str, ...] | None = None
    made_by: str | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as by default; an empty value that was set stays."""
        defaults = RunParameters.model_construct()
        fields = serialize(self)
        return {name: value for name, value in fields.items() if getattr(self, name) != getattr(defaults, name)}


class AggregationRecord(Record):
    """The aggregation of a run's flow: over how many lines it was executed, and why it failed, if it did."""

    lines: int
    error: LineError | None = None


class Manifest(Record):
    """``manifest.json``: everything that says what a run was, and nothing secret.

    ``data_sha256`` is over the data file's bytes; ``flow_fingerprint`` over what the flow executes and
    reads (see ``phi3flow.flows.fingerprint``); ``duration_s`` sums the time spent running over all resumptions;
    ``environment`` has the SHA-256, 16 digits of it, of each variable that was set for the flow;
    ``cache_hits`` counts the lines that were answered from the cache; ``aggregation`` is told of a flow that has one;
    ``flow_changes`` are files of the flow that somebody changed while it ran. ``results_sha256`` is over results.jsonl
    as the run left it, None while it runs.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    status: RunStatus
    flow: str
    flow_fingerprint: str
    data: str
    data_sha256: str
    column_mapping: dict[str, str]
    variant: str | None = None
    connections: dict[str, ConnectionUse] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    parameters: RunParameters = RunParameters()
    concurrency: int | Literal["auto"]
    counts: Counts = Counts()
    tokens: TokenTotal | None = None
    cache_hits: int = 0
    stopped_early: StoppedEarly | None = None
    aggregation: AggregationRecord | None = None
    flow_changes: tuple[str, ...] = ()
    results_sha256: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None

    @property
    def repeats(self) -> int:
        """How often each line of the data ran."""
        return self.parameters.repeats

    @property
    def lines(self) -> int:
        """How many lines of the data ran: line_number modulo this is the position in the data."""
        return self.counts.total if self.parameters.lines is None else self.parameters.lines
