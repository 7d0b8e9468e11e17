"""Stops a run as soon as it is certain whether it is better or worse than a baseline.

Each answer is scored as the baseline's were, in a process of its own, while the run goes on; conversations are tested
in the order that was drawn, not in that in which answers come back: slow answers may differ from quick ones.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from phi3flow.errors import ColumnMappingError, ConfigError, ResumeMismatchError
from phi3flow.flows.evaluation import requests_per_line
from phi3flow.pacing.calls import endpoint_pacer
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pace import Pace, Unpaced
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.images import data_folder
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import LineScore
from phi3flow.runner.data_lines import DataLine, DataLines
from phi3flow.runner.drawn_order import draw_conversations
from phi3flow.runner.line_pairs import LinePair, MetricPairing
from phi3flow.runner.stop_rule import StopRule
from phi3flow.runner.stop_test import StopTest
from phi3flow.runner.tested_scores import TestedScores
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.workers.crew import Crew
from phi3flow.workers.crew_attempts import CrewAttempts
from phi3flow.workers.messages import Attempt, BeginEvaluation, Ended

_SCORED_AT_ONCE = 8
_LIMITS = Limits()
_OUTPUT = "${run.outputs."
_ROUNDING = 1e-9


class EarlyStop:
    """Decides. ``lines`` is the order to run them in; ``keep`` is told what became of each.

    ``scorers`` is one process that loads the evaluation flow; ``before`` what an earlier opening of the run found:
    the level is never above what it was. ``outcome`` is None until it is decided, when ``on_decided`` is called, or
    until ``conclude``. Raises ConfigError where no line of the data is the baseline's, ResumeMismatchError where the
    run was tested by another rule.
    """

    def __init__(self, rule: StopRule, lines: DataLines, scorers: Crew, *, before: StoppedEarly | None = None) -> None:
        self.outcome: StoppedEarly | None = None
        self.on_decided: Callable[[], None] = lambda: None
        self.is_exhausted = False
        self.level = min(rule.level, before.level) if before else rule.level
        _refuse_other_rule(rule, before)
        self._rule = rule
        self._data_folder = data_folder(lines.path.resolve())
        self._scorers = scorers
        self._lines = list(lines)
        self._pairing = MetricPairing(rule.metric, rule.score_range, rule.lower_is_better)
        rows = [parse_row(line.row) for line in self._lines]
        line_ids = [line.line_id or line_id(row) for line, row in zip(self._lines, rows, strict=True)]
        self._baseline = _scores_by_number(rule, line_ids)
        self._conversations = draw_conversations(rows, line_ids)
        self._place = {n: place for place, numbers in enumerate(self._conversations) for n in numbers}
        self._left = [len(numbers) for numbers in self._conversations]
        self._ended: dict[int, LinePair] = {}
        self._tested = 0
        self._test = StopTest(rule, [self._may_pair(numbers) for numbers in self._conversations], level=self.level)
        self._answers: deque[Attempt] = deque()
        self._attempts: CrewAttempts | None = None
        self._kept: TestedScores | None = None
        self._is_mapping_checked = False

    def is_decided_by(self, before: StoppedEarly | None) -> bool:
        """Whether an earlier opening of the run was decided, at this level."""
        return before is not None and before.verdict != "undecided" and before.p <= self.level

    @property
    def lines(self) -> Iterator[DataLine]:
        """The lines in the order that was drawn, which is the same for the same data."""
        return (self._lines[number] for number in itertools.chain.from_iterable(self._conversations))

    def refuse_other_outputs(self, outputs: Collection[str]) -> None:
        """Raise ColumnMappingError where the flow's outputs lack one that the baseline's scores are of."""
        rule, self._is_mapping_checked = self._rule, True
        for name, value in rule.ruler.column_mapping.items():
            if value.startswith(_OUTPUT) and value[len(_OUTPUT) : -1] not in outputs:
                raise ColumnMappingError(
                    f"--baseline {rule.baseline.name} was scored with {name}={value}, and this flow gives no such "
                    f"output (but {', '.join(outputs) or 'none'}): give it one of that name, or run it without "
                    "--stop-when-decided and score it with --column-mapping"
                )

    def keep(self, number: int, result: bytes | None) -> None:
        """Take note of a line's record of results.jsonl, None where it failed.

        Raises ColumnMappingError where the first answer shows that the flow lacks an output that the baseline had.
        """
        assert self._kept is not None
        if result is None:
            self._end(number, _without_score(self._baseline.get(number), answered=False))
        elif number in self._kept.scores:
            self._end(number, self._kept.scores[number])
        else:
            if not self._is_mapping_checked:
                self.refuse_other_outputs(LineResult.model_validate_json(result).outputs or {})
            self._answers.append(Attempt(number, self._lines[number].row, None, answer=result))
            if self._attempts:
                self._attempts.wake()

    async def begin(self, run: Path) -> None:
        """Wait until the evaluation flow is loaded; keep scores in the run's folder. Raises FlowError, ConfigError."""
        uses = await self._scorers.opened()
        self._refuse_other_judge(uses)
        self._kept = TestedScores(run, self._rule.ruler)
        mapping = dict(self._rule.ruler.column_mapping)
        self._scorers.begin(BeginEvaluation(mapping, _LIMITS.timeout_s, self._data_folder, run))
        pace = _pace(self._rule, uses)
        self._attempts = CrewAttempts(self._scorers, pace, _LIMITS, len(self._lines), self._scored)

    async def score(self) -> None:
        """Score what is kept, until it is ended or cancelled.

        Raises EndpointError where an endpoint that the evaluation flow asks stays down, FlowError where its process
        dies of one line after the other.
        """
        assert self._attempts is not None
        await self._attempts.run(self)

    def end(self) -> None:
        """Let ``score`` return once all that was kept is scored."""
        assert self._attempts is not None
        self.is_exhausted = True
        self._attempts.wake()

    def conclude(self) -> None:
        """Take what is shown now for the outcome: no more lines will run."""
        self.outcome = self.outcome or self._test.outcome

    def close(self) -> None:
        """Close the file of scores."""
        if self._kept:
            self._kept.close()

    async def take(self) -> Attempt | None:
        """See Source: the next answer to score."""
        return self._answers.popleft() if self._answers else None

    def _scored(self, attempt: Attempt, ended: Ended) -> None:
        if ended.failure is not None:
            self._end(attempt.number, _without_score(self._baseline.get(attempt.number), answered=True))
            return
        assert self._kept is not None
        score = LineScore.model_validate_json(ended.result)
        self._kept.append(score)
        self._end(attempt.number, score)

    def _end(self, number: int, score: LineScore) -> None:
        """Take a line's score; test the conversations that are whole, in the order that was drawn."""
        if number in self._ended:
            return
        self._refuse_out_of_range(score)
        baseline = self._baseline.get(number)
        self._ended[number] = self._pairing.pair(baseline, score) if baseline else LinePair()
        self._left[self._place[number]] -= 1
        while self.outcome is None and self._tested < len(self._left) and not self._left[self._tested]:
            self._test.add([self._ended[number] for number in self._conversations[self._tested]])
            self._tested += 1
            if self._test.verdict != "undecided":
                self.conclude()
                self.on_decided()

    def _may_pair(self, numbers: list[int]) -> int:
        return sum(number in self._baseline and self._pairing.may_pair(self._baseline[number]) for number in numbers)

    def _refuse_out_of_range(self, score: LineScore) -> None:
        low, high = self._rule.score_range
        value, rounding = score.scores.get(self._rule.metric), _ROUNDING * (high - low)
        if value is not None and not low - rounding <= value <= high + rounding:
            raise ConfigError(
                f"--stop-when-decided {self._rule.name}: line {score.line_number} scores {value:g}, outside of "
                f"{low:g}..{high:g}: only a metric of known range can be tested while it runs; name it in the tag "
                f"score_ranges of {self._rule.flow.folder}"
            )

    def _refuse_other_judge(self, uses: Mapping[str, ConnectionUse]) -> None:
        judging = self._rule.measured.judging
        before = sorted(use.name for use in judging.connections) if judging else []
        now = sorted(use.name for use in uses.values())
        if before != now:
            raise ConfigError(
                f"--baseline {self._rule.baseline.name} was scored over the connection {', '.join(before) or 'none'}, "
                f"and {self._rule.flow.folder} asks {', '.join(now) or 'none'}: score the baseline without "
                "--connections"
            )


def _refuse_other_rule(rule: StopRule, before: StoppedEarly | None) -> None:
    if before and (before.metric, before.baseline) != (rule.name, rule.baseline.name):
        raise ResumeMismatchError(
            f"--stop-when-decided {rule.name} --baseline {rule.baseline.name}: the run was tested by {before.metric} "
            f"against {before.baseline}, and a run has one such test: give another --name, or --fresh"
        )


def _without_score(baseline: LineScore | None, *, answered: bool) -> LineScore:
    """Return the score of a line that failed: in scoring where it is ``answered``, else in the run."""
    number, identity = (baseline.line_number, baseline.line_id) if baseline else (0, "")
    return LineScore(line_number=number, line_id=identity, status="Failed", answered=answered)


def _pace(rule: StopRule, uses: dict[str, ConnectionUse]) -> Pace:
    requests = requests_per_line(rule.flow)
    return endpoint_pacer(_LIMITS, requests_each=requests or 1) if uses or requests else Unpaced(_SCORED_AT_ONCE)


def _scores_by_number(rule: StopRule, line_ids: list[str]) -> dict[int, LineScore]:
    """Return the baseline's score of each line of the data. Raises ConfigError where none has the metric."""
    scores = {number: rule.scores[name] for number, name in enumerate(line_ids) if name in rule.scores}
    if not any(rule.metric in score.scores for score in scores.values()):
        raise ConfigError(
            f"--baseline {rule.baseline.name}: none of its {len(rule.scores)} lines is in the data and has {rule.name}"
        )
    return scores
