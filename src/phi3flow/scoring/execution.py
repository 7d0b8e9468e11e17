"""An evaluation flow's execution on a line, or why there is none; in this process, or in one that helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.flows import Flow
from phi3flow.flows.evaluation import AnsweredLine, Evaluator, Execution
from phi3flow.flows.observed import ObservedLine
from phi3flow.pacing.failures import Failure, describe_failure
from phi3flow.workers.beside import Beside, beside_result


@dataclass(frozen=True)
class OpenEvaluation:
    """What a process that helps to score is told first: the flow to load, and whence its inputs come."""

    flow: Flow
    environment: dict[str, str]
    mapping: dict[str, Any]


@dataclass(frozen=True)
class Attempted:
    """What became of a line, and what is kept beside its scores: what the flow printed, and where it failed."""

    outcome: Execution | Failure
    beside: Beside


class ObservedEvaluator:
    """Executes an evaluation flow as ``Evaluator`` does, and sees what it prints and where it fails."""

    def __init__(self, evaluator: Evaluator, redactor: Redactor) -> None:
        self._evaluator = evaluator
        self._redactor = redactor

    async def attempt(self, line: AnsweredLine) -> Attempted:
        """Execute the flow on a line; an error is described."""
        observed, number = ObservedLine(), line.result.line_number
        try:
            execution = await self._evaluator.execute(line, observed=observed)
            return Attempted(execution, beside_result(number, observed, self._redactor))
        except Exception as error:
            return Attempted(describe_failure(error), self.beside_failure(line, observed, error))

    def beside_failure(self, line: AnsweredLine, observed: ObservedLine, error: Exception) -> Beside:
        """Return what is kept beside a line that failed."""
        number = line.result.line_number
        return beside_result(
            number,
            observed,
            self._redactor,
            failure=self._redactor.describe(error),
            traceback=self._evaluator.session.traceback(error, observed, line_number=number),
        )
