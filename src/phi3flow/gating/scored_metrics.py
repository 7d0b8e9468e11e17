"""The metrics of a scored run, and which of its lines failed: what a gate reads of the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from phi3flow.comparison.confirmatory import resolve_metrics
from phi3flow.comparison.notes import describe_endpoint_failures
from phi3flow.errors import ConfigError
from phi3flow.gating.rules import MetricRule, Rule
from phi3flow.records.lines import LineError
from phi3flow.records.scores import Estimate, FailedLines, LineScore, RunMetrics, ScoreRange
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import CORPUS_METRICS, UNIT, known_range
from phi3flow.text import shorten


@dataclass(frozen=True)
class ScoredMetric:
    """A metric of the run: the evaluation that gave it, its short name, and its estimates.

    ``answered_only`` is there where it differs. ``uncounted`` is whether a line failed of which nobody can say what it
    counts as: the metric has no range, or may not apply to it. ``score_range`` is that of a line's score.
    """

    evaluation: str
    name: str
    estimate: Estimate
    answered_only: Estimate | None = None
    failed_lines: FailedLines = "least"
    lower_is_better: bool = False
    uncounted: bool = False
    score_range: ScoreRange | None = UNIT

    @property
    def full_name(self) -> str:
        """Return the name by which reports, comparisons and gates call it."""
        return f"{self.evaluation}.{self.name}"


class GatedRun:
    """A run with its scores, which are read once."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.manifest = folder, folder.manifest
        self.evaluations = folder.evaluations()
        self._scores: dict[str, list[LineScore]] = {}

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def lines(self) -> int:
        """How many lines of the data ran: repeats are not counted."""
        counts = self.manifest.counts
        return min(self.manifest.lines, counts.completed + counts.failed)

    def scores(self, evaluation: str) -> list[LineScore]:
        """Return each execution's scores."""
        if evaluation not in self._scores:
            self._scores[evaluation] = self.folder.scores(evaluation)
        return self._scores[evaluation]

    @cached_property
    def estimates(self) -> Mapping[str, RunMetrics]:
        """The estimates by evaluation."""
        return {evaluation: self.folder.metrics(evaluation) for evaluation in self.evaluations}

    def resolve(self, rule: MetricRule) -> ScoredMetric:
        """Return the rule's metric. Raises ConfigError where the run has no such scores."""
        evaluation = rule.metric.rpartition(".")[0]
        prefixes = tuple(f"{name}." for name in self.evaluations)
        if not prefixes or (evaluation and not rule.metric.startswith(prefixes)):
            raise not_scored(rule, self.folder, evaluation or "answer_match")
        self._refuse_absent(rule)
        metrics = {f"{flow}.{name}": (flow, name) for flow, scored in self.estimates.items() for name in scored.metrics}
        if not metrics:
            counts = self.manifest.counts
            raise ConfigError(
                f"--rule {rule.text!r}: no line of run {self.name} has a score: {counts.failed:,} of "
                f"{counts.total:,} lines failed; phi3flow runs show {self.name} says why"
            )
        try:
            return self._metric(*metrics[resolve_metrics([rule.metric], metrics)[0]])
        except ConfigError as error:
            raise ConfigError(f"--rule {rule.text!r}: {error}{self._failed_aggregations()}") from None

    def _refuse_absent(self, rule: MetricRule) -> None:
        for flow, scored in self.estimates.items():
            for name, reason in scored.absent.items():
                if rule.metric in (name, f"{flow}.{name}"):
                    raise ConfigError(f"--rule {rule.text!r}: run {self.name} has no {flow}.{name}: {reason}")

    def _failed_aggregations(self) -> str:
        errors = {name: scored.aggregation_error for name, scored in self.estimates.items()}
        return "".join(
            f"; the aggregation of {name} failed: {error.type}: {shorten(error.message)}"
            for name, error in errors.items()
            if error
        )

    def _metric(self, evaluation: str, name: str) -> ScoredMetric:
        estimates = self.estimates[evaluation]
        return ScoredMetric(
            evaluation=evaluation,
            name=name,
            estimate=estimates.metrics[name],
            answered_only=estimates.answered_only.get(name),
            failed_lines=estimates.failed_lines,
            lower_is_better=name in estimates.lower_is_better,
            uncounted=any(_is_uncounted(line, name) for line in self.scores(evaluation)),
            score_range=self._score_range(evaluation, name),
        )

    def _score_range(self, evaluation: str, name: str) -> ScoreRange | None:
        if name in CORPUS_METRICS:  # it is none of lines
            return None
        scores = [score for line in self.scores(evaluation) if (score := line.scores.get(name)) is not None]
        return known_range(name, self.estimates[evaluation].score_ranges, [scores])

    @cached_property
    def failures(self) -> Mapping[int, LineError | None]:
        """The lines of the data of which an execution failed in the run, and why the first of these did."""
        failures: dict[int, LineError | None] = {}
        for result in self.folder.results():
            if result.status == "Failed":
                failures.setdefault(result.line_number % self.manifest.lines, result.error)
        return failures

    def endpoint_failures(self) -> str | None:
        """Return how many lines the endpoint failed, with the command that tries them again."""
        return describe_endpoint_failures(self.name, (error for error in self.failures.values() if error))

    def failed_in_scoring(self, evaluation: str, metric: str | None = None) -> set[int]:
        """Return the lines of the data of which an answer has no score: in ``metric``, or in any that applies to it."""
        return {
            score.line_number % self.manifest.lines
            for score in self.scores(evaluation)
            if score.answered
            and (score.status == "Failed" or (metric in score.failures if metric else bool(score.failures)))
        }

    def scored_lines(self, evaluation: str) -> int:
        """Return how many lines of the data have an answer that was scored."""
        completed = (score for score in self.scores(evaluation) if score.status == "Completed")
        return len({score.line_number % self.manifest.lines for score in completed})


def _is_uncounted(line: LineScore, metric: str) -> bool:
    """Whether the line failed in the run, and nobody can say what it counts as."""
    if metric in CORPUS_METRICS:
        return not line.answered and metric.removeprefix("corpus_") not in line.counts
    return line.counted_as.get(metric, 0.0) is None


def not_scored(rule: Rule, run: RunFolder, evaluation: str) -> ConfigError:
    """Return the error of a rule about scores that the run has not."""
    return ConfigError(
        f"--rule {rule.text!r}: run {run.name} is not scored by {evaluation} "
        f"(it has: {', '.join(run.evaluations()) or 'no scores'}): "
        f"phi3flow score {run.name} --flow flows/eval/{evaluation}"
    )
