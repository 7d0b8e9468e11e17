"""``compare --json``: differences, slices and preferences; and, in ``manifest.json``, why a run ended early."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from phi3flow.records.lines import LineError
from phi3flow.records.record import Record
from phi3flow.records.scores import Judging


class Difference(Record):
    """Candidate minus baseline over paired lines, with its 95 % interval (None where there is none)."""

    mean: float | None
    low: float | None = None
    high: float | None = None


class StoppedEarly(Record):
    """Why a run ended before its last line: ``metric`` was decided against ``baseline`` over ``n`` paired lines.

    ``p`` and the interval hold although the run was watched (``stats.SequentialTest``).
    """

    metric: str
    baseline: str
    verdict: Literal["better", "worse"]
    difference: Difference
    p: float
    n: int


class MetricComparison(Record):
    """One metric of two runs, over the lines that both scored.

    ``p`` is the parametric (clustered where lines share a conversation) or score test's, ``p_permutation``
    the seeded sign-flip permutation test's, ``p_holm`` is given for confirmatory metrics only. ``wins`` are
    lines where the candidate is better; a metric of the whole run has none. ``minimum_detectable_effect`` is at 80 %
    power; ``lines_needed`` resolve the observed difference at 80 % power; ``se`` is its standard error.
    """

    baseline: float | None
    candidate: float | None
    difference: Difference
    p: float | None
    p_permutation: float | None
    p_holm: float | None = None
    wins: int | None
    losses: int | None
    ties: int | None
    minimum_detectable_effect: float | None
    lines_needed: int | None
    n: int
    method: str
    lower_is_better: bool = False
    se: float | None = None


class SliceComparison(Record):
    """The confirmatory metrics over the lines whose ``column`` is ``value``; ``p_holm`` counts the column's slices."""

    column: str
    value: str
    n: int
    metrics: dict[str, MetricComparison]


class Unmatched(Record):
    """Lines that only one of the two runs has."""

    baseline: int
    candidate: int


class Comparison(Record):
    """``compare A B --json``: metrics by full name (``answer_match.f1``); A is the baseline."""

    baseline: str
    candidate: str
    n_paired: int
    unmatched: Unmatched
    metrics: dict[str, MetricComparison]
    slices: list[SliceComparison] = Field(default_factory=list)
    slices_note: str | None = None


class Preferences(Record):
    """Which of two runs' answers a judge prefers, each pair judged in both orders; A is the baseline.

    ``wins`` are pairs where the candidate is preferred in both orders; ``flipped`` of the ties are verdicts that went
    with the order. ``first_share`` of the verdicts that are no tie went to the answer shown first: 0.5 where the order
    does not matter. ``preference`` is the mean of win 1, tie 0, loss -1, with its interval; ``p`` is the
    sign test's (by conversation where lines share one). ``failure`` is the first of the ``n_failed`` pairs' reasons.
    """

    baseline: str
    candidate: str
    n: int
    n_failed: int = 0
    wins: int
    losses: int
    ties: int
    flipped: int
    first_share: float | None
    preference: Difference
    p: float | None
    failure: LineError | None = None
    judging: Judging | None = None
