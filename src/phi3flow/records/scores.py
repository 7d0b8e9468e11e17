"""``scores.jsonl`` and ``metrics.json``: a line's scores, and the estimates that are made of them."""

from __future__ import annotations

from pydantic import Field

from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError, LineStatus
from phi3flow.records.record import SCHEMA_VERSION, Record


class LineScore(Record):
    """One line of ``scores.jsonl``: numbers by metric; None where a metric does not apply to the line.

    ``counts`` add up over lines; a metric of the whole run is made of their sums: ``bleu`` of corpus_bleu's.
    ``failures`` say why a metric that does apply has no score; ``verdicts`` are what the score is the mean of, where
    a line was judged several times. ``counted_as`` has what a metric that failed counts as, by the user's choice.
    """

    line_number: int
    line_id: str
    status: LineStatus
    scores: dict[str, float | None] = Field(default_factory=dict)
    counts: dict[str, list[float]] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)
    verdicts: dict[str, list[float | None]] = Field(default_factory=dict)
    counted_as: dict[str, float] = Field(default_factory=dict)
    error: LineError | None = None

    def value(self, metric: str) -> float | None:
        """Return what the line counts as: its score, None where it has none."""
        return self.counted_as.get(metric, self.scores.get(metric))


class RepeatVariances(Record):
    """Of a metric whose lines ran ``count`` times: the variance of the lines' means, and the mean one within a line."""

    count: int
    between: float | None
    within: float | None


ScoreRange = tuple[float, float]
"""The least and the greatest score that a metric can give a line."""


class Estimate(Record):
    """A metric with its 95 % interval.

    ``n`` lines were scored, ``n_failed`` have no score because the line or its scoring failed; ``low``,
    ``high`` and ``se`` are None where no interval exists (one line, or a corpus metric's point value).
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    se: float | None = None
    n: int
    n_failed: int = 0
    method: str
    repeats: RepeatVariances | None = None


class Agreement(Record):
    """How far the verdicts of lines that were judged several times agree, over ``n`` lines with two or more.

    ``alpha`` is Krippendorff's, for ordinal data (None where all verdicts are the same); ``exact`` the share of lines
    whose verdicts are all equal; ``within_sd`` the standard deviation of a line's verdicts, pooled over lines.
    """

    alpha: float | None
    exact: float
    within_sd: float
    n: int


class Judging(Record):
    """Who gave a judged evaluation's scores: connections (never a secret), model, prompts, and how far it agrees.

    ``answered_as`` is what the judge calls itself; ``prompts`` has the SHA-256 of each metric's prompt, from
    ``package``; ``repeats`` is how often each line was judged.
    """

    connections: list[ConnectionUse] = Field(default_factory=list)
    model: str | None = None
    answered_as: list[str] = Field(default_factory=list)
    package: str | None = None
    prompts: dict[str, str] = Field(default_factory=dict)
    repeats: int = 1
    agreement: dict[str, Agreement] = Field(default_factory=dict)


class RunMetrics(Record):
    """``scores/<evaluation flow>/metrics.json``: the estimates by the metric's short name.

    ``lower_is_better`` has the names of those that count something bad, ``score_ranges`` the ranges other than 0 to 1.
    ``failed_as_zero``: lines that failed count as the least score.
    """

    schema_version: int = SCHEMA_VERSION
    metrics: dict[str, Estimate]
    lower_is_better: list[str] = Field(default_factory=list)
    score_ranges: dict[str, ScoreRange] = Field(default_factory=dict)
    failed_as_zero: bool = False
    judging: Judging | None = None
