"""Two runs as one evaluation flow scored them: the scores of their lines, and what it says of its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi3flow.comparison.rulers import Measured, Mismatch, match_evaluations
from phi3flow.errors import RulerMismatchError
from phi3flow.records.lines import LineError
from phi3flow.records.scores import FailedLines, LineScore, RunMetrics, ScoreRange
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.repeats import average_repeats


@dataclass(frozen=True)
class ScoredRun:
    """A run as an evaluation flow scored it; ``scores`` are by the line's number in the data, averaged over repeats.

    ``failed`` has those lines that failed in the run averaged without their failed executions, ``failures`` why the
    first of these did.
    """

    measured: Measured
    scores: Mapping[int, LineScore]
    failed: Mapping[int, LineScore]
    failures: Mapping[int, LineError]

    @property
    def folder(self) -> RunFolder:
        """The run."""
        return self.measured.run

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def metrics(self) -> RunMetrics:
        """The estimates of the run alone."""
        return self.measured.metrics


@dataclass(frozen=True)
class ScoredRuns:
    """A baseline and a candidate that the same ``evaluation`` flow scored."""

    evaluation: str
    baseline: ScoredRun
    candidate: ScoredRun

    @property
    def failed_lines(self) -> FailedLines:
        """How failed lines are read, in both."""
        return self.baseline.metrics.failed_lines

    @property
    def lower_is_better(self) -> frozenset[str]:
        """The metrics that count something bad, as the evaluation flow of either run says."""
        return frozenset([*self.baseline.metrics.lower_is_better, *self.candidate.metrics.lower_is_better])

    @property
    def score_ranges(self) -> Mapping[str, ScoreRange]:
        """The ranges other than 0 to 1, as the evaluation flow says."""
        return self.baseline.metrics.score_ranges


def read_scored_runs(baseline: RunFolder, candidate: RunFolder) -> tuple[list[ScoredRuns], list[Mismatch]]:
    """Return the two runs by each ruler that measured both, and the evaluations whose rulers differ, or are outdated.

    Raises ConfigError where no ruler measured both as they are.
    """
    matches = match_evaluations(baseline, candidate)
    runs, unlike = list[ScoredRuns](), list(matches.unlike)
    for match in matches.alike:
        sides = [(measured, measured.run.scores(measured.folder)) for measured in (match.baseline, match.candidate)]
        if problems := list(filter(None, (measured.outdated(scores) for measured, scores in sides))):
            unlike.append(match.mismatch("; ".join(problems)))
        else:
            runs.append(ScoredRuns(match.name, *(_by_line(measured, scores) for measured, scores in sides)))
    if not runs:
        raise RulerMismatchError(unlike[0].problem)
    return runs, unlike


def _by_line(measured: Measured, executions: Sequence[LineScore]) -> ScoredRun:
    lines = measured.run.manifest.lines
    failures: dict[int, LineError] = {}
    for score in executions:
        if not score.answered and score.error:
            failures.setdefault(score.line_number % lines, score.error)
    scores = {score.line_number: score for score in average_repeats(executions, lines)}
    failed = [score for score in executions if not scores[score.line_number % lines].answered]
    without = {score.line_number: score for score in average_repeats(failed, lines, "left out")}
    return ScoredRun(measured, scores, without, failures)
