"""``scores.jsonl`` and ``metrics.json``: a line's scores, and the estimates that are made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError, LineStatus
from phi3flow.records.record import SCHEMA_VERSION, Record

FailedLines = Literal["least", "left out"]
"""How a line that failed in the run is read: as the worst end of a metric's range, or not at all."""


AGGREGATION = "aggregation"
"""The method of a metric that only the evaluation flow's aggregation knows: it saw the lines that were scored."""


class LineScore(Record):
    """One line of ``scores.jsonl``: numbers by metric; None where a metric does not apply to the line.

    ``answered`` is False where the line failed in the run. Then ``counted_as`` has what it counts as in each metric
    that applies to it, the worst end of the metric's range, or None where nobody can say what that is; ``counts`` are
    those of an empty answer. A line that ran repeatedly, averaged, is answered where all of its executions are;
    ``counted_as`` then holds the mean with the failed ones, ``scores`` the mean without.
    ``counts`` add up over lines; a metric of the whole run is made of their sums: ``bleu`` of corpus_bleu's.
    ``failures`` say why a metric that does, or may, apply to an answer has no score, ``absent`` why there is no such
    metric here, whatever the line; ``verdicts`` are what the score is
    the mean of, where a line was judged several times; ``texts`` are what the evaluation flow returns as text, such as
    a judge's reason. ``error`` says why the line, or (where it is answered) its scoring, failed.
    """

    line_number: int
    line_id: str
    status: LineStatus
    answered: bool = True
    scores: dict[str, float | None] = Field(default_factory=dict)
    counts: dict[str, list[float]] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)
    absent: dict[str, str] = Field(default_factory=dict)
    verdicts: dict[str, list[float | None]] = Field(default_factory=dict)
    counted_as: dict[str, float | None] = Field(default_factory=dict)
    texts: dict[str, str] = Field(default_factory=dict)
    error: LineError | None = None

    def value(self, metric: str, failed_lines: FailedLines = "least") -> float | None:
        """Return what the line counts as by a reading of failed lines; None where it has no score by it."""
        if failed_lines == "least" and metric in self.counted_as:
            return self.counted_as[metric]
        return self.scores.get(metric)


class RepeatVariances(Record):
    """Of a metric whose lines ran ``count`` times: the variance of the lines' means, and the mean one within a line."""

    count: int
    between: float | None
    within: float | None


ScoreRange = tuple[float, float]
"""The least and the greatest score that a metric can give a line."""


class Estimate(Record):
    """A metric with its 95 % interval.

    ``n`` lines are in the mean. ``n_failed`` lines, to which the metric applies, failed: ``n_unscored`` of them in
    scoring (they are in no mean), the others in the run (by the reading "least" they are among the ``n``). A line that
    ran repeatedly failed where any of its executions did.
    ``low``, ``high`` and ``se`` are None where no interval exists; ``note`` then says why, or what to beware of. ``df``
    are the degrees of freedom of ``se`` where lines share ``conversations``, None where each is one of its own.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    se: float | None = None
    df: float | None = None
    conversations: int | None = None
    n: int
    n_failed: int = 0
    n_unscored: int = 0
    method: str
    note: str | None = None
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


class JudgeIdentity(Record):
    """The judge of an evaluation, as far as it changes what is measured: its model, and its prompts' SHA-256.

    ``serves`` is what its endpoints said that they serve, as far as they do.
    """

    model: str | None = None
    serves: tuple[str, ...] = ()
    package: str | None = None
    prompts: dict[str, str] = Field(default_factory=dict)


class Ruler(Record):
    """What measured a run: scores by different rulers are not compared.

    ``flow`` is the evaluation flow's folder, ``flow_fingerprint`` the SHA-256 over its files, ``column_mapping`` where
    each of its inputs came from; ``run_outputs`` are the names of the run's outputs, among which it chose.
    """

    flow: str
    flow_fingerprint: str
    column_mapping: dict[str, str] = Field(default_factory=dict)
    run_outputs: list[str] = Field(default_factory=list)
    judge: JudgeIdentity | None = None


class RunMetrics(Record):
    """``scores/<evaluation flow>/metrics.json``: the estimates by the metric's short name.

    ``metrics`` read failed lines as ``failed_lines`` says; ``answered_only`` has those that differ when failed lines
    are left out, none where ``metrics`` leave them out. ``absent`` says by name why a metric is not among them.
    ``texts`` are what the aggregation logged as text, ``aggregation_error`` why it failed. ``lower_is_better`` has the
    names of those that count something bad, ``score_ranges`` the ranges other than 0 to 1; each line was scored
    ``repeats`` times. ``sha256`` is over scores.jsonl and the estimates' numbers: it tells that they belong together.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    metrics: dict[str, Estimate]
    answered_only: dict[str, Estimate] = Field(default_factory=dict)
    absent: dict[str, str] = Field(default_factory=dict)
    failed_lines: FailedLines = "least"
    texts: dict[str, str] = Field(default_factory=dict)
    aggregation_error: LineError | None = None
    lower_is_better: list[str] = Field(default_factory=list)
    score_ranges: dict[str, ScoreRange] = Field(default_factory=dict)
    repeats: int = 1
    judging: Judging | None = None
    evaluation: Ruler | None = None
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, data: Any) -> Any:
        """Read version 1's ``failed_as_zero`` as the reading of failed lines that it was."""
        if not isinstance(data, dict) or data.get("schema_version") != 1 or "failed_lines" in data:
            return data
        fields = {name: value for name, value in data.items() if name != "failed_as_zero"}
        return {**fields, "failed_lines": "least" if data.get("failed_as_zero") else "left out"}
