"""``compare --json``: differences, slices and preferences; and, in ``manifest.json``, why a run ended early."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from phi3flow.records.lines import LineError
from phi3flow.records.record import Record
from phi3flow.records.scores import FailedLines, Judging

SEQUENTIAL = "confidence sequence"
"""The method of a comparison that was made while the run went on."""

Verdict = Literal["better", "worse", "equivalent", "undecided"]
"""What a comparison shows; equivalent is within a margin that the user states, undecided has a reason."""


class Difference(Record):
    """Candidate minus baseline over paired lines, with its interval (None where there is none)."""

    mean: float | None
    low: float | None = None
    high: float | None = None


class Sides(Record):
    """A number of lines on each side of a comparison."""

    baseline: int = 0
    candidate: int = 0


class AnsweredOnly(Record):
    """A metric of two runs over the lines that both answered: the second reading of failed lines."""

    baseline: float | None
    candidate: float | None
    difference: Difference
    p: float | None
    n: int = 0


class StoppedEarly(Record):
    """What a run that was tested while it ran found: ``metric`` against ``baseline`` over ``n`` paired lines.

    ``verdict`` is "undecided" where the lines that were to run ran without one; ``reason`` says why, where failed lines
    decide, or conversations are too long. ``p`` and the interval hold although the run was watched
    (``stats.SequentialTest``): the interval at 1 - ``level``, which several candidates of one command share.
    ``baseline_mean``, ``candidate_mean``, ``wins``, ``losses``, ``ties`` and ``failed`` are of the same lines, a failed
    one counting as the worst; ``answered_only`` is the other reading, where lines failed. ``baseline_scores`` is the
    SHA-256 of the baseline's scores that it was tested against: of others it says nothing. At a stop the difference
    tends to be too large: it stopped because it was large.
    """

    metric: str
    baseline: str
    verdict: Literal["better", "worse", "undecided"]
    difference: Difference
    p: float
    n: int
    level: float = 0.05
    baseline_mean: float | None = None
    candidate_mean: float | None = None
    wins: int = 0
    losses: int = 0
    ties: int = 0
    failed: Sides = Sides()
    answered_only: AnsweredOnly | None = None
    reason: str | None = None
    baseline_scores: str | None = None


class MetricComparison(Record):
    """One metric of two runs, over the lines that both scored; a failed line counts as the worst end of its range.

    The intervals are at 1 - ``level``, which is 0.05 except where a test that watched a run shared it with others. The
    lines come in ``conversations``, None where each is one of its own or nobody counted them. ``p`` is the parametric
    (clustered where lines share a conversation) or score test's, ``p_permutation`` the seeded sign-flip permutation
    test's, ``p_holm`` is given for confirmatory metrics only, as is ``simultaneous``: the difference's interval at the
    level that all tests of the comparison share (Bonferroni). ``wins`` are lines where the candidate is better; a
    metric of the whole run has none. ``minimum_detectable_effect`` is at 80 % power; ``lines_needed`` resolve the
    observed difference at 80 % power; both at that level. ``se`` is the standard error. ``failed`` lines, to which the
    metric applies, failed in the run of that side, ``unscored`` in its scoring. ``verdict`` is that of the whole
    comparison, ``reason`` why it is undecided or what is to be known about it; ``answered_only`` is there where lines
    failed, unless ``failed_lines`` are left out anyhow. What is not ``confirmatory`` is exploratory: its verdict is by
    its own ``p`` and interval. ``obstacle`` says why nothing can be decided whatever the interval says, ``note`` what
    is to be known of it; ``reason`` has both.
    """

    baseline: float | None
    candidate: float | None
    difference: Difference
    p: float | None
    p_permutation: float | None
    p_holm: float | None = None
    simultaneous: Difference | None = None
    wins: int | None
    losses: int | None
    ties: int | None
    minimum_detectable_effect: float | None
    lines_needed: int | None
    n: int
    method: str
    level: float = 0.05
    conversations: int | None = None
    df: float | None = None
    lower_is_better: bool = False
    confirmatory: bool = False
    se: float | None = None
    failed_lines: FailedLines = "least"
    failed: Sides = Sides()
    unscored: Sides = Sides()
    answered_only: AnsweredOnly | None = None
    margin: float | None = None
    verdict: Verdict = "undecided"
    verdict_answered_only: Verdict = "undecided"
    reason: str | None = None
    obstacle: str | None = None
    note: str | None = None


class SliceComparison(Record):
    """The confirmatory metrics over the lines whose ``column`` is ``value``; ``p_holm`` counts all slices."""

    column: str
    value: str
    n: int
    metrics: dict[str, MetricComparison]


class Comparison(Record):
    """``compare A B --json``: metrics by full name (``answer_match.f1``); A is the baseline.

    ``failed`` are the lines of each run, among those paired, that failed in it. ``measured_otherwise`` lines, which
    both have too, are left out: the data that they were scored by differ. ``notes`` say what is left out, and
    which failures another try may mend.
    """

    baseline: str
    candidate: str
    n_paired: int
    unmatched: Sides
    measured_otherwise: int = 0
    failed: Sides = Sides()
    metrics: dict[str, MetricComparison]
    slices: list[SliceComparison] = Field(default_factory=list)
    slices_note: str | None = None
    notes: list[str] = Field(default_factory=list)


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
