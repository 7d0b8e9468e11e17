"""What phi3flow writes to disk, as typed records: the run folder's manifest, results and scores.

Field names and meanings are those of docs/run-folder.md. Unknown keys are refused, so that a file written
by a newer version is not half understood.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

RunStatus = Literal["Running", "Completed", "Failed", "Canceled"]
LineStatus = Literal["Completed", "Failed"]


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LineError(Record):
    """Why a line failed: the exception's type, its message, and the HTTP status where there was one."""

    type: str
    message: str
    status_code: int | None = None


class Usage(Record):
    """A line's tokens, as the endpoint reported them or as the model's tokenizer counts them."""

    prompt_tokens: int
    completion_tokens: int
    counted_by: Literal["endpoint", "tokenizer"] = "endpoint"


class Prices(Record):
    """What a million tokens cost, in and out, in any one currency."""

    tokens_in: float
    tokens_out: float


class TokenTotal(Record):
    """The tokens of a run's completed lines, and what they cost.

    ``n_endpoint`` lines were counted by the endpoint, ``n_tokenizer`` by the tokenizer, ``n_unknown`` by nobody.
    ``cost`` is in the currency of the prices, which are for a million tokens; None without prices.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    n_endpoint: int = 0
    n_tokenizer: int = 0
    n_unknown: int = 0
    cost: float | None = None


class LineResult(Record):
    """One line of ``results.jsonl``: what went in, what came out, or why nothing did.

    ``line_number`` counts from 0; ``latency_ms`` is the last attempt's, None where a job in the cloud does not tell;
    ``outputs`` is None where the line failed; ``attempts`` is 0 where the answer came from the cache.
    """

    line_number: int
    line_id: str
    status: LineStatus
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = None
    error: LineError | None = None
    attempts: int = 1
    latency_ms: float | None
    usage: Usage | None = None


class Counts(Record):
    """How many lines a run has and what became of them; ``retries`` = attempts beyond each line's first."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    retries: int = 0


class ConnectionUse(Record):
    """A connection as a manifest may show it: its name and its endpoint's host, never a secret."""

    name: str
    host: str | None = None


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


class Manifest(Record):
    """``manifest.json``: everything that says what a run was, and nothing secret.

    ``data_sha256`` is over the data file's bytes; ``flow_fingerprint`` over the flow folder's files
    (see ``phi3flow.flows.fingerprint``); ``duration_s`` sums the time spent running over all resumptions;
    ``cache_hits`` counts the lines that were answered from the cache.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    status: RunStatus
    flow: str
    flow_fingerprint: str
    data: str
    data_sha256: str
    column_mapping: dict[str, str]
    variant: str | None = None
    connections: dict[str, ConnectionUse] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    concurrency: int | Literal["auto"]
    counts: Counts = Counts()
    tokens: TokenTotal | None = None
    cache_hits: int = 0
    stopped_early: StoppedEarly | None = None
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None

    @property
    def repeats(self) -> int:
        """How often each line of the data ran."""
        return int(self.parameters.get("repeats", 1))

    @property
    def lines(self) -> int:
        """How many lines of the data ran: line_number modulo this is the place in the data."""
        return int(self.parameters.get("lines", self.counts.total))


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


class TrainingStep(Record):
    """One logged optimisation step: ``loss`` is the mean over assistant tokens since the last log."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class ValidationPoint(Record):
    """The validation loss (nats a token, assistant tokens only) and perplexity = exp(loss) at a step."""

    step: int
    loss: float
    perplexity: float


class TrainingRecord(Record):
    """``training.json`` in a fine-tune's output folder: its settings, curves, and the scores before and after.

    ``before`` and ``after`` hold named figures, for example validation_loss, validation_perplexity,
    general_loss, general_perplexity.
    """

    schema_version: int = SCHEMA_VERSION
    backend: str
    base_model: str | None
    parameters: dict[str, Any]
    data: dict[str, str]
    steps: list[TrainingStep]
    validation: list[ValidationPoint]
    best_step: int | None
    before: dict[str, float]
    after: dict[str, float]
    started_at: datetime
    duration_s: float
    versions: dict[str, str]


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
