"""Two runs as one evaluation flow scored them: the scores of their lines, and what it says of its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from phi3flow.errors import ConfigError
from phi3flow.records.scores import LineScore, RunMetrics, ScoreRange
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.repeats import average_repeats


@dataclass(frozen=True)
class ScoredRun:
    """A run as an evaluation flow scored it; ``scores`` are by the line's number in the data, averaged over repeats."""

    folder: RunFolder
    scores: Mapping[int, LineScore]
    metrics: RunMetrics

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name


@dataclass(frozen=True)
class ScoredRuns:
    """A baseline and a candidate that the same ``evaluation`` flow scored."""

    evaluation: str
    baseline: ScoredRun
    candidate: ScoredRun

    @property
    def lower_is_better(self) -> frozenset[str]:
        """The metrics that count something bad, as the evaluation flow of either run says."""
        return frozenset([*self.baseline.metrics.lower_is_better, *self.candidate.metrics.lower_is_better])

    @property
    def score_ranges(self) -> Mapping[str, ScoreRange]:
        """The ranges other than 0 to 1, as the evaluation flow of either run says."""
        return self.baseline.metrics.score_ranges | self.candidate.metrics.score_ranges


def read_scored_runs(baseline: RunFolder, candidate: RunFolder) -> list[ScoredRuns]:
    """Return the two runs by each evaluation flow that scored both. Raises ConfigError where there is none."""
    return [
        ScoredRuns(evaluation, _read_scores(baseline, evaluation), _read_scores(candidate, evaluation))
        for evaluation in _common_evaluations(baseline, candidate)
    ]


def refuse_unlike_failures(evaluations: Iterable[ScoredRuns]) -> None:
    """Raise ConfigError where failed lines are read otherwise in one run than in the other."""
    for runs in evaluations:
        readings = [run.metrics.failed_lines for run in (runs.baseline, runs.candidate)]
        if readings[0] != readings[1]:
            raise ConfigError(
                f"{runs.evaluation} reads failed lines of {runs.baseline.name} as {readings[0]!r} and of "
                f"{runs.candidate.name} as {readings[1]!r}: score either again with the other's --failed-lines"
            )


def _common_evaluations(baseline: RunFolder, candidate: RunFolder) -> list[str]:
    scored = {run: run.evaluations() for run in (baseline, candidate)}
    common = [name for name in scored[baseline] if name in scored[candidate]]
    if common:
        return common
    lacking = candidate if scored[baseline] else baseline
    flow = next(iter(scored[baseline] or scored[candidate]), "answer_match")
    raise ConfigError(
        f"run {lacking.name} is not scored{f' by {flow}' if any(scored.values()) else ''}: "
        f"phi3flow score {lacking.name} --flow flows/eval/{flow}"
    )


def _read_scores(run: RunFolder, evaluation: str) -> ScoredRun:
    scores = average_repeats(run.scores(evaluation), run.manifest.lines)
    return ScoredRun(run, {score.line_number: score for score in scores}, run.metrics(evaluation))
