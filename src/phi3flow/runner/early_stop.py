"""Stops a run as soon as it is certain whether it is better or worse than a baseline.

Lines run in random order, by conversation. Each answer is scored by the evaluation flow, in a process of its own, while
the run goes on; the paired differences are tested unit by unit (a unit is a conversation) in the order that was drawn,
not in that in which answers come back: slow answers may differ from quick ones.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phi3flow.errors import ConfigError
from phi3flow.flows.evaluation import complete_evaluation, requests_per_line
from phi3flow.pacing.calls import endpoint_pacer
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pace import Pace, Unpaced
from phi3flow.records.comparisons import Difference, StoppedEarly
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import LineScore
from phi3flow.runner.data_lines import DataLine, DataLines
from phi3flow.runner.options import StopRule
from phi3flow.runs.conversations import cluster_labels
from phi3flow.stats import UNIT, SequentialTest
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.workers.crew import Crew
from phi3flow.workers.crew_attempts import CrewAttempts
from phi3flow.workers.messages import Attempt, BeginEvaluation, Ended

_SEED = 0
_SCORED_AT_ONCE = 8
_LIMITS = Limits()


@dataclass
class _Unit:
    """The lines of one conversation that have not ended, and what is known of the others."""

    left: set[int]
    total: float = 0.0
    pairs: int = 0


class EarlyStop:
    """Decides. ``lines`` is the order to run them in; ``keep`` is told what became of each.

    ``scorers`` is one process that loads the evaluation flow. ``outcome`` is None until it is decided, when
    ``on_decided`` is called. Raises ConfigError where the baseline has no score of the metric.
    """

    def __init__(self, rule: StopRule, lines: DataLines, scorers: Crew, *, own_history: bool = False) -> None:
        self.outcome: StoppedEarly | None = None
        self.on_decided: Callable[[], None] = lambda: None
        self.is_exhausted = False
        self._rule = rule
        self._scorers = scorers
        self._own_history = own_history
        self._columns = lines.columns
        self._lines = list(lines)
        rows = [parse_row(line.row) for line in self._lines]
        self._before = _baseline_scores(rule, self._lines, rows)
        self._units = _random_units(rows)
        self._order = [number for unit in self._units for number in sorted(unit.left)]
        self._unit_of = {number: unit for unit in self._units for number in unit.left}
        low, high = rule.evaluation.score_ranges.get(rule.metric, UNIT)
        self._range = high - low
        self._scale = max(len(unit.left) for unit in self._units) * self._range
        self._test = SequentialTest()
        self._pairs = 0
        self._mapping: dict[str, Any] | None = None
        self._answers: deque[Attempt] = deque()
        self._attempts: CrewAttempts | None = None

    def decides_as(self, before: StoppedEarly | None) -> bool:
        """Whether an earlier opening of the run was ended by this rule."""
        return before is not None and (before.metric, before.baseline) == (self._rule.name, self._rule.baseline.name)

    @property
    def lines(self) -> Iterator[DataLine]:
        """The lines in the order that was drawn, which is the same for the same data."""
        return (self._lines[number] for number in self._order)

    def keep(self, number: int, result: bytes | None) -> None:
        """Take note of a line's record of results.jsonl, None where it failed: it has no score.

        Raises ColumnMappingError where the first answer shows that the evaluation flow lacks an input.
        """
        if result is None:
            self._end(number, None)
            return
        if self._mapping is None:
            self._mapping = self._complete(LineResult.model_validate_json(result))
            self._scorers.begin(BeginEvaluation(self._mapping, _LIMITS.timeout_s))
        self._answers.append(Attempt(number, self._lines[number].row, None, answer=result))
        if self._attempts:
            self._attempts.wake()

    async def begin(self) -> None:
        """Wait until the evaluation flow is loaded. Raises FlowError."""
        pace = _pace(self._rule, await self._scorers.opened())
        self._attempts = CrewAttempts(self._scorers, pace, _LIMITS, len(self._lines), self._scored)

    async def score(self) -> None:
        """Score what is kept, until cancelled.

        Raises EndpointError where an endpoint that the evaluation flow asks stays down, FlowError where its process
        dies of one line after the other.
        """
        assert self._attempts is not None
        await self._attempts.run(self)

    async def take(self) -> Attempt | None:
        """See Source: the next answer to score."""
        return self._answers.popleft() if self._answers else None

    def _scored(self, attempt: Attempt, ended: Ended) -> None:
        score = None
        if ended.failure is None:
            score = LineScore.model_validate_json(ended.result).scores.get(self._rule.metric)
        self._end(attempt.number, score)

    def _complete(self, result: LineResult) -> dict[str, Any]:
        columns = {"run.outputs": result.outputs or {}, "data": self._columns, "run.inputs": result.inputs}
        evaluation = self._rule.evaluation
        return complete_evaluation(evaluation, columns, where=str(evaluation.folder), own_history=self._own_history)

    def _end(self, number: int, score: float | None) -> None:
        """Take a line's score; test the units that are whole, in the order that was drawn."""
        unit = self._unit_of[number]
        if number not in unit.left:
            return  # a line that failed before and was tried again
        unit.left.discard(number)
        before = self._before.get(number)
        if score is not None and before is not None:
            unit.total += (score - before) / self._scale
            unit.pairs += 1
        while not self._test.is_decided and self._test.units < len(self._units):
            unit = self._units[self._test.units]
            if unit.left:
                return
            self._add(unit)
        if self._test.is_decided and self.outcome is None:
            self.outcome = self._outcome()
            self.on_decided()

    def _add(self, unit: _Unit) -> None:
        try:
            self._test.add(unit.total)
        except ValueError as error:
            raise ConfigError(
                f"--stop-when-decided {self._rule.name}: its scores differ by more than "
                f"{self._range:g}: only a metric of known range can be tested while it runs; name it in the tag "
                f"score_ranges of {self._rule.evaluation.folder}"
            ) from error
        self._pairs += unit.pairs

    def _outcome(self) -> StoppedEarly:
        test, rule = self._test, self._rule
        factor = self._scale * test.units / self._pairs
        low, high = test.interval()
        lower = rule.metric in rule.evaluation.lower_is_better
        return StoppedEarly(
            metric=rule.name,
            baseline=rule.baseline.name,
            verdict="better" if (test.mean > 0) != lower else "worse",
            difference=Difference(mean=test.mean * factor, low=low * factor, high=high * factor),
            p=test.p,
            n=self._pairs,
        )


def _pace(rule: StopRule, uses: dict[str, ConnectionUse]) -> Pace:
    requests = requests_per_line(rule.evaluation)
    return endpoint_pacer(_LIMITS, requests_each=requests or 1) if uses or requests else Unpaced(_SCORED_AT_ONCE)


def _baseline_scores(rule: StopRule, lines: Sequence[DataLine], rows: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Return the baseline's score of each line that it has one for. Raises ConfigError where it has none at all."""
    scored = {score.line_id: score.scores.get(rule.metric) for score in rule.baseline.scores(rule.evaluation.name)}
    matched = ((line.number, scored.get(line.line_id or line_id(row))) for line, row in zip(lines, rows, strict=True))
    scores = {number: score for number, score in matched if score is not None}
    if not scores:
        raise ConfigError(
            f"--baseline {rule.baseline.name}: none of its {len(scored)} lines is in the data and has {rule.name}"
        )
    return scores


def _random_units(rows: Sequence[dict[str, Any]]) -> list[_Unit]:
    units: dict[str, _Unit] = {}
    for number, label in enumerate(cluster_labels(rows)):
        units.setdefault(label, _Unit(set())).left.add(number)
    drawn = list(units.values())
    random.Random(_SEED).shuffle(drawn)
    return drawn
