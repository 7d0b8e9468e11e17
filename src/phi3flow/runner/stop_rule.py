"""When a run may end: once a metric is shown to be better or worse than a baseline's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi3flow.errors import ConfigError, FlowError
from phi3flow.flows import Flow, load_flow
from phi3flow.project.paths import ANSWER_MATCH
from phi3flow.records.scores import LineScore, Ruler, RunMetrics, ScoreRange
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.repeats import average_repeats


@dataclass(frozen=True)
class StopRule:
    """Stop when the run's ``metric`` is shown to be better or worse than ``baseline``'s, at ``level``.

    ``flow`` is the evaluation flow that scored the baseline, and ``measured`` what it found: the run is scored by the
    same flow with the same mapping. ``scores`` are the baseline's, by line_id, and ``scores_sha256`` that of their
    file. ``score_range`` is what the metric can
    be. Several candidates of one command share the level.
    """

    baseline: RunFolder
    evaluation: str
    flow: Flow
    metric: str
    measured: RunMetrics
    ruler: Ruler
    scores: Mapping[str, LineScore]
    scores_sha256: str | None
    score_range: ScoreRange
    level: float = 0.05

    @classmethod
    def of(cls, baseline: RunFolder, name: str, *, level: float = 0.05) -> StopRule:
        """Read the baseline's scores of the metric of this full name.

        Raises ConfigError where they are an earlier build's, where the evaluation flow is not what it was, where no
        line has the metric, or where nobody knows what it can be: only a bounded metric can be tested so.
        """
        evaluation, _, metric = name.rpartition(".")
        measured = baseline.metrics(evaluation)
        flow, ruler = _evaluation_flow(baseline, evaluation, measured.evaluation)
        scores = average_repeats(baseline.scores(evaluation), baseline.manifest.lines)
        values = [value for score in scores if (value := score.scores.get(metric)) is not None]
        if not values:
            raise ConfigError(
                f"--stop-when-decided {name}: no line of {baseline.name} has a score of it; name a metric of the lines"
            )
        return cls(
            baseline=baseline,
            evaluation=evaluation,
            flow=flow,
            metric=metric,
            measured=measured,
            ruler=ruler,
            scores={score.line_id: score for score in scores},
            scores_sha256=baseline.scores_sha256(evaluation),
            score_range=_range(flow, name, values),
            level=level,
        )

    @property
    def name(self) -> str:
        """The metric's full name."""
        return f"{self.evaluation}.{self.metric}"

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric counts something bad."""
        return self.metric in self.measured.lower_is_better

    def refuse_same_run(self, run: Path) -> None:
        """Raise ConfigError where the run is its own baseline."""
        if run.resolve() == self.baseline.path:
            raise ConfigError(f"--baseline {self.baseline.name}: is the run itself: give the run another --name")


def _evaluation_flow(baseline: RunFolder, evaluation: str, ruler: Ruler | None) -> tuple[Flow, Ruler]:
    """Return the flow that scored the baseline, as it was then."""
    folder = ruler.flow if ruler else str(ANSWER_MATCH.parent / evaluation)
    anew = shlex.join(["phi3flow", "score", baseline.name, "--flow", folder])
    if ruler is None:
        raise ConfigError(
            f"--baseline {baseline.name}: its scores by {evaluation} are an earlier build's, which did not note what "
            f"measured them: {anew}"
        )
    try:
        flow = load_flow(Path(folder))
    except FlowError as error:
        raise ConfigError(
            f"--baseline {baseline.name}: the evaluation flow that scored it is not there: {error}"
        ) from error
    if flow.fingerprint != ruler.flow_fingerprint:
        raise ConfigError(
            f"--baseline {baseline.name}: {folder} is not what it was when it scored it (fingerprint "
            f"{ruler.flow_fingerprint[:8]}, now {flow.fingerprint[:8]}): {anew}"
        )
    return flow, ruler


def _range(flow: Flow, name: str, values: list[float]) -> ScoreRange:
    from phi3flow.stats import known_range  # it imports SciPy

    bounds = known_range(name.rpartition(".")[2], flow.score_ranges, [values])
    if bounds is None:
        raise ConfigError(
            f"--stop-when-decided {name}: its scores lie outside of 0 to 1, and only a metric of known range can be "
            f"tested while it runs; name it in the tag score_ranges of {flow.folder}"
        )
    return bounds
