"""One attempt to score one answer, in a worker that holds an evaluation flow: to the line of scores.jsonl."""

from __future__ import annotations

import time

from phi3flow.connections.public import Redactor
from phi3flow.flows import FlowSession
from phi3flow.flows.evaluation import AnsweredLine, Evaluator, line_score, unscored
from phi3flow.flows.threads import is_cancelled
from phi3flow.records.lines import LineResult
from phi3flow.storage.jsonl import parse_row
from phi3flow.workers.attempt import BegunAttempts
from phi3flow.workers.messages import Attempt, BeginEvaluation, Ended
from phi3flow.workers.usage import line_usage


class EvaluationAttempts:
    """Scores answers with one open evaluation flow. Its connections' secrets are cut out of everything that leaves."""

    def __init__(self, session: FlowSession, begin: BeginEvaluation) -> None:
        self._redactor = Redactor(session)
        self._evaluator = Evaluator(session, begin.mapping, redact=self._redactor.answer)
        self._begin = begin
        self._timeout_s = begin.timeout_s
        self._begun = BegunAttempts()

    async def run(self, attempt: Attempt) -> Ended:
        """Score one answer. It never raises: an error is described."""
        assert attempt.answer is not None
        result = LineResult.model_validate_json(attempt.answer)
        started_s = self._begun.add(attempt.number)
        try:
            line = AnsweredLine(result, parse_row(attempt.row)).located(self._begin.data_folder, self._begin.run_folder)
            execution = await self._evaluator.execute(line, timeout_s=self._timeout_s)
            return Ended(
                attempt.number,
                self._redactor.json(line_score(result, execution).model_dump_json().encode()),
                time.perf_counter() - started_s,
                usage=line_usage(execution.inputs, execution.line, None),
                begun=self._begun.take(),
            )
        except BaseException as error:
            if is_cancelled():
                raise
            return self._failed(result, error, time.perf_counter() - started_s)

    def _failed(self, result: LineResult, error: BaseException, latency_s: float) -> Ended:
        failure = self._redactor.describe(error)
        content = unscored(result, failure.error).model_dump_json().encode()
        return Ended(result.line_number, content, latency_s, failure=failure, begun=self._begun.take())
