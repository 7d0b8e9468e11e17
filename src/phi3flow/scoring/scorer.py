"""Lines through an evaluation flow: executed once or several times each, combined into one score a line.

A flow that needs nothing but the processor has a bounded number of lines in flight; one that asks an endpoint is
paced, bounded and tried again as a batch run is.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.flows import FlowSession
from phi3flow.flows.evaluation import (
    AnsweredLine,
    Evaluator,
    Execution,
    asks_endpoint,
    line_score,
    requests_per_line,
    unscored,
)
from phi3flow.flows.observed import ObservedLine
from phi3flow.pacing.calls import EndpointCalls
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import Limits
from phi3flow.records.lines import LineError
from phi3flow.records.scores import LineScore
from phi3flow.scoring.execution import Attempted, ObservedEvaluator
from phi3flow.scoring.executions import KeptExecutions
from phi3flow.scoring.processes import Helper
from phi3flow.text import shorten
from phi3flow.workers.beside import Beside, beside_result
from phi3flow.workers.usage import line_usage, total_tokens

_LOCAL_LINES = 8
_LINES_A_SHARE = 50
_SHARES_AT_ONCE = 2  # one that it executes, and the next


@dataclass(frozen=True)
class ScoredLine:
    """A line's score, and the executions that succeeded, which the aggregation will want."""

    score: LineScore
    executions: list[Execution]


@dataclass
class _Repeats:
    """What became of each execution of one line; None while it has not ended."""

    line: AnsweredLine
    outcomes: list[Execution | LineError | None]


_Repetition = tuple[_Repeats, int]


class Scorer:
    """Scores lines with an open evaluation flow, each ``repeats`` times; ``on_line`` hears of each as it ends.

    What ``kept`` has is not executed again, and it keeps what is; ``on_kept`` hears for how many lines it has all,
    ``on_beside`` of what the flow prints and where it fails.
    ``helpers`` take a share of the lines of a flow that needs nothing but the processor.
    """

    def __init__(
        self,
        session: FlowSession,
        mapping: Mapping[str, Any],
        *,
        kept: KeptExecutions | None = None,
        limits: Limits,
        repeats: int = 1,
        helpers: Sequence[Helper] = (),
        on_kept: Callable[[int], None] = lambda _: None,
        on_beside: Callable[[Beside], None] = lambda _: None,
        on_line: Callable[[LineScore], None] = lambda _: None,
    ) -> None:
        self._redactor = Redactor(session)
        self._evaluator = Evaluator(session, mapping, redact=self._redactor.answer)
        self._observed = ObservedEvaluator(self._evaluator, self._redactor)
        self._kept = kept
        self._limits = limits
        self._repeats = repeats
        self._helpers = helpers
        self._on_kept = on_kept
        self._on_beside = on_beside
        self._on_line = on_line
        self._requests_each = requests_per_line(session.flow)
        self._asks_endpoint = bool(asks_endpoint(session) or limits.rpm or limits.tpm)
        self._scored: list[ScoredLine] = []

    async def score(self, lines: Sequence[AnsweredLine]) -> list[ScoredLine]:
        """Score every line, in line order. Raises EndpointError where an endpoint that the flow asks stays down."""
        repeated = [_Repeats(line, self._find(line)) for line in lines]
        tries = [(line, repeat) for line in repeated for repeat, outcome in enumerate(line.outcomes) if outcome is None]
        self._on_kept(sum(all(line.outcomes) for line in repeated))
        for line in repeated:
            self._end_line(line)
        if self._asks_endpoint:
            calls = EndpointCalls(
                self._ask,
                self._ended,
                limits=self._limits,
                tokens=_tokens,
                requests_each=self._requests_each or 1,
            )
            await calls.run(tries)
        else:
            await self._run_local(tries)
        return _fail_without_number(sorted(self._scored, key=lambda line: line.score.line_number))

    def _find(self, line: AnsweredLine) -> list[Execution | LineError | None]:
        if self._kept is None:
            return [None] * self._repeats
        return [self._kept.find(line, repeat, self._evaluator.inputs) for repeat in range(self._repeats)]

    async def _ask(self, repetition: _Repetition) -> Execution:
        line, observed = repetition[0].line, ObservedLine()
        try:
            execution = await self._evaluator.execute(line, timeout_s=self._limits.timeout_s, observed=observed)
        except Exception as error:
            self._on_beside(self._observed.beside_failure(line, observed, error))
            raise
        self._on_beside(beside_result(line.result.line_number, observed, self._redactor))
        return execution

    async def _run_local(self, tries: Sequence[_Repetition]) -> None:
        remaining = iter(tries)
        here = [self._attempt(remaining) for _ in range(self._limits.concurrency or _LOCAL_LINES)]
        there = [self._have_attempted(remaining, helper) for helper in self._helpers for _ in range(_SHARES_AT_ONCE)]
        await asyncio.gather(*here, *there)

    async def _attempt(self, tries: Iterable[_Repetition]) -> None:
        for repetition in tries:
            self._attempted(repetition, await self._observed.attempt(repetition[0].line))

    async def _have_attempted(self, tries: Iterable[_Repetition], helper: Helper) -> None:
        """Give a helper lines until none are left; what it cannot hand over is done here."""
        while share := list(itertools.islice(tries, _LINES_A_SHARE)):
            outcomes = await helper.attempt([line.line for line, _ in share])
            if outcomes is None:
                await self._attempt(share)
                return
            for repetition, attempted in zip(share, outcomes, strict=True):
                self._attempted(repetition, attempted)

    def _attempted(self, repetition: _Repetition, attempted: Attempted) -> None:
        self._on_beside(attempted.beside)
        self._ended(repetition, attempted.outcome)

    def _ended(self, repetition: _Repetition, outcome: Execution | Failure) -> None:
        line, repeat = repetition
        end = self._redactor.failure(outcome).error if isinstance(outcome, Failure) else outcome
        if self._kept:
            self._kept.add(line.line, repeat, end)
        line.outcomes[repeat] = end
        self._end_line(line)

    def _end_line(self, line: _Repeats) -> None:
        if all(line.outcomes):
            scored = _combine(line)
            self._scored.append(scored)
            self._on_line(scored.score)


def _fail_without_number(lines: Sequence[ScoredLine]) -> list[ScoredLine]:
    """Return the lines with their failures to score: where other lines have a number, a text or nothing is no score."""
    numbers = {name for line in lines for name, score in line.score.scores.items() if score is not None}
    return [_fail_line(line, numbers) for line in lines]


def _fail_line(line: ScoredLine, numbers: set[str]) -> ScoredLine:
    score = line.score
    reasons = {name: f"no number: {shorten(score.texts[name])}" for name in numbers.intersection(score.texts)}
    reasons |= {name: score.absent[name] for name in numbers.intersection(score.absent)}
    reasons = {name: reason for name, reason in reasons.items() if score.scores.get(name) is None}
    if not reasons:
        return line
    update = {"scores": score.scores | dict.fromkeys(reasons), "failures": reasons | score.failures}
    return replace(line, score=score.model_copy(update=update))


def _combine(line: _Repeats) -> ScoredLine:
    """Return the line's score: each metric's mean over the executions that have one."""
    result = line.line.result
    executions = [outcome for outcome in line.outcomes if isinstance(outcome, Execution)]
    if not executions:
        error = next(outcome for outcome in line.outcomes if isinstance(outcome, LineError))
        return ScoredLine(unscored(result, error), [])
    score = line_score(result, executions[0])
    if len(line.outcomes) > 1:
        verdicts = {name: [execution.scores.get(name) for execution in executions] for name in score.scores}
        scores = {name: _mean(column) for name, column in verdicts.items()}
        reasons = {name: reason for execution in reversed(executions) for name, reason in execution.failures.items()}
        failures = {name: reason for name, reason in reasons.items() if scores.get(name) is None}
        texts = {name: _join([execution.texts.get(name, "") for execution in executions]) for name in score.texts}
        update = {"scores": scores, "failures": failures, "verdicts": verdicts, "texts": texts}
        score = score.model_copy(update=update)
    return ScoredLine(score, executions)


def _mean(column: Sequence[float | None]) -> float | None:
    values = [value for value in column if value is not None]
    return fmean(values) if values else None


def _join(texts: Sequence[str]) -> str:
    """Return the text where all are the same, else each after its number."""
    return texts[0] if len(set(texts)) == 1 else "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def _tokens(execution: Execution) -> int:
    return total_tokens(line_usage(execution.inputs, execution.line, None))
