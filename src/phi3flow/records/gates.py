"""``gate --json`` and ``gate.json``: what a gate says of a run, and what of it is left with the run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from phi3flow.records.comparisons import Sides
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.record import SCHEMA_VERSION, Record
from phi3flow.records.scores import Estimate

Outcome = Literal["passed", "failed", "undecided"]


class AnsweredOutcome(Record):
    """A rule's outcome by the second reading of failed lines: over the ``n`` that were answered (in both runs)."""

    outcome: Outcome
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int


class RuleResult(Record):
    """One rule's outcome.

    ``value``, ``low`` and ``high`` are the metric's, or of candidate minus baseline; ``n`` lines were counted.
    ``threshold`` or ``margin`` is the rule's number. ``lines_needed`` is given for what more lines would decide.
    ``failed`` lines, to which the metric applies, failed in the run of that side, ``unscored`` in its scoring;
    without a baseline its side is 0. ``answered_only`` is there where lines failed and the readings differ.
    """

    rule: str
    outcome: Outcome
    metric: str | None = None
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    threshold: float | None = None
    margin: float | None = None
    lines_needed: int | None = None
    failed: Sides = Sides()
    unscored: Sides = Sides()
    answered_only: AnsweredOutcome | None = None
    sentence: str


class GateResult(Record):
    """``gate --json``: ``failed`` where any rule failed, else ``undecided`` where any is, else ``passed``.

    ``measured_otherwise`` lines of both runs are not among the ``n_paired``: the data that they were scored by differ.
    ``failures`` are the lines of each run that failed in it (of the baseline 0 where there is none),
    ``failures_paired`` those among the lines that were compared, None where there is no baseline; ``notes`` say which
    of them another try may mend.
    """

    run: str
    baseline: str | None
    outcome: Outcome
    rules: list[RuleResult]
    n_paired: int | None = None
    unmatched: Sides | None = None
    measured_otherwise: int = 0
    failures: Sides = Sides()
    failures_paired: Sides | None = None
    notes: list[str] = Field(default_factory=list)


class GateRecord(Record):
    """``gate.json`` in the folder of the run: what whoever publishes its flow has to know, and nothing secret.

    ``outcomes`` are those of ``rules``, in their order. ``passed`` is whether every rule passed, whatever
    ``--undecided`` made of the exit code. ``metrics`` are the run's estimates of the rules' metrics, by full name:
    where they differ from those in ``scores/``, the run was scored anew since.
    """

    schema_version: int = SCHEMA_VERSION
    run: str
    baseline: str | None
    rules: list[str]
    outcomes: list[Outcome]
    passed: bool
    flow_fingerprint: str
    variant: str | None
    connections: dict[str, ConnectionUse]
    data_sha256: str
    metrics: dict[str, Estimate]
