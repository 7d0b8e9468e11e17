"""Lines through an evaluation flow: executed once or several times each, combined into one score a line.

A flow that needs nothing but the processor has a bounded number of lines in flight; one that asks an endpoint is
paced, bounded and tried again as a batch run is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from phi3flow.endpoint_calls import EndpointCalls
from phi3flow.errors import FlowError
from phi3flow.failures import Failure, describe_failure
from phi3flow.flows import FlowLine, FlowSession
from phi3flow.line_scores import evaluation_inputs, read_counts, read_scores
from phi3flow.records import LineError, LineResult, LineScore
from phi3flow.runner.options import RunOptions
from phi3flow.runner.secrets import secret_values
from phi3flow.runner.usage import line_usage

_LOCAL_LINES = 8
_REQUESTS_TAG = "requests_per_line"


@dataclass(frozen=True)
class Execution:
    """One execution of the flow on a line: its inputs, what it gave, and what of that are scores and failures."""

    inputs: dict[str, Any]
    line: FlowLine
    scores: dict[str, float | None]
    failures: dict[str, str]


@dataclass(frozen=True)
class ScoredLine:
    """A line's score, and the executions that succeeded, which the aggregation will want."""

    score: LineScore
    executions: list[Execution]


@dataclass
class _Repeats:
    """What became of each execution of one line; None while it has not ended."""

    result: LineResult
    outcomes: list[Execution | LineError | None]


class Scorer:
    """Scores lines with an open evaluation flow, each ``repeats`` times; ``on_line`` hears of each as it ends."""

    def __init__(
        self,
        session: FlowSession,
        mapping: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        *,
        options: RunOptions,
        repeats: int = 1,
        on_line: Callable[[LineScore], None] = lambda _: None,
    ) -> None:
        self._session = session
        self._mapping = mapping
        self._rows = rows
        self._options = options
        self._repeats = repeats
        self._on_line = on_line
        self._defaults = {name: one.default for name, one in session.flow.inputs.items() if one.has_default}
        self._secrets = [text for one in session.used_connections.values() for text in secret_values(one)]
        self._asks_endpoint = bool(session.used_connections or options.rpm or options.tpm)
        self._scored: list[ScoredLine] = []

    async def score(self, results: Sequence[LineResult]) -> list[ScoredLine]:
        """Score every line, in line order. Raises EndpointError where an endpoint that the flow asks stays down."""
        lines = [_Repeats(result, [None] * self._repeats) for result in results]
        tries = [(line, repeat) for line in lines for repeat in range(self._repeats)]
        if self._asks_endpoint:
            calls = EndpointCalls(
                self._execute,
                self._ended,
                options=self._options,
                tokens=_tokens,
                requests_each=_requests_per_line(self._session),
            )
            await calls.run(tries)
        else:
            await self._run_local(tries)
        return sorted(self._scored, key=lambda line: line.score.line_number)

    async def _run_local(self, tries: Sequence[tuple[_Repeats, int]]) -> None:
        remaining = iter(tries)

        async def work() -> None:
            for one in remaining:
                try:
                    outcome: Execution | Failure = await self._execute(one)
                except Exception as error:
                    outcome = describe_failure(error)
                self._ended(one, outcome)

        await asyncio.gather(*(work() for _ in range(self._options.concurrency or _LOCAL_LINES)))

    async def _execute(self, one: tuple[_Repeats, int]) -> Execution:
        result = one[0].result
        sources = {
            "run.outputs": result.outputs or {},
            "data": self._rows[result.line_number],
            "run.inputs": result.inputs,
        }
        inputs = evaluation_inputs(self._mapping, sources, self._defaults)
        timeout_s = self._options.timeout_s if self._asks_endpoint else None
        line = await self._session.exec_line(inputs, line_number=result.line_number, timeout_s=timeout_s)
        scores = read_scores(line.outputs)
        failures = {name: self._public(reason) for name, reason in read_failures(line.outputs, scores).items()}
        return Execution(inputs, line, scores, failures)

    def _ended(self, one: tuple[_Repeats, int], outcome: Execution | Failure) -> None:
        line, repeat = one
        if isinstance(outcome, Failure):
            message = self._public(outcome.error.message)
            line.outcomes[repeat] = outcome.error.model_copy(update={"message": message})
        else:
            line.outcomes[repeat] = outcome
        if all(line.outcomes):
            scored = _combine(line)
            self._scored.append(scored)
            self._on_line(scored.score)

    def _public(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def read_failures(outputs: Mapping[str, Any], scores: Mapping[str, float | None]) -> dict[str, str]:
    """Return why metrics that apply to the line have no score: the flow's output ``failures``, {metric: reason}."""
    failures = outputs.get("failures")
    if not isinstance(failures, Mapping):
        return {}
    return {name: str(reason) for name, reason in failures.items() if name in scores and scores[name] is None}


def _combine(line: _Repeats) -> ScoredLine:
    """Return the line's score: each metric's mean over the executions that have one."""
    result = line.result
    executions = [one for one in line.outcomes if isinstance(one, Execution)]
    if not executions:
        error = next(one for one in line.outcomes if isinstance(one, LineError))
        failed = LineScore(line_number=result.line_number, line_id=result.line_id, status="Failed", error=error)
        return ScoredLine(failed, [])
    first = executions[0]
    scores, failures, verdicts = first.scores, first.failures, dict[str, list[float | None]]()
    if len(line.outcomes) > 1:
        verdicts = {name: [one.scores.get(name) for one in executions] for name in first.scores}
        scores = {name: _mean(column) for name, column in verdicts.items()}
        reasons = {name: reason for one in reversed(executions) for name, reason in one.failures.items()}
        failures = {name: reason for name, reason in reasons.items() if scores.get(name) is None}
    score = LineScore(
        line_number=result.line_number,
        line_id=result.line_id,
        status="Completed",
        scores=scores,
        counts=read_counts(first.line.aggregation_inputs),
        failures=failures,
        verdicts=verdicts,
    )
    return ScoredLine(score, executions)


def _mean(column: Sequence[float | None]) -> float | None:
    values = [value for value in column if value is not None]
    return fmean(values) if values else None


def _tokens(execution: Execution) -> int:
    usage = line_usage(execution.inputs, execution.line, None)
    return usage.prompt_tokens + usage.completion_tokens if usage else 0


def _requests_per_line(session: FlowSession) -> int:
    """Return the most requests that the flow says it makes for a line: its tag ``requests_per_line``, else 1."""
    flow = session.flow
    value = str((flow.definition.get("tags") or {}).get(_REQUESTS_TAG, "1"))
    if not value.isdigit() or int(value) < 1:
        raise FlowError(f"{flow.folder / flow.file}: the tag {_REQUESTS_TAG} is {value!r}, not a number of at least 1")
    return int(value)
