"""One execution of an evaluation flow on a line: from the run's result and the data's row to scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi3flow.connections.public import secret_values
from phi3flow.flows import Flow, FlowLine, FlowSession
from phi3flow.flows.evaluation import evaluation_inputs, read_scores
from phi3flow.pacing.failures import Failure, describe_failure
from phi3flow.records.lines import LineResult

Line = tuple[LineResult, Mapping[str, Any]]
"""A line that completed in the run, and its row of the data."""


@dataclass(frozen=True)
class OpenEvaluation:
    """What a process that helps to score is told first: the flow to load, and whence its inputs come."""

    flow: Flow
    environment: dict[str, str]
    mapping: dict[str, Any]


@dataclass(frozen=True)
class Execution:
    """One execution of the flow on a line: its inputs, what it gave, and what of that are scores and failures."""

    inputs: dict[str, Any]
    line: FlowLine
    scores: dict[str, float | None]
    failures: dict[str, str]


class LineExecutor:
    """Executes lines with an open evaluation flow. Its connections' secrets are cut out of every message."""

    def __init__(self, session: FlowSession, mapping: Mapping[str, Any]) -> None:
        self._session = session
        self._mapping = mapping
        self._defaults = {name: one.default for name, one in session.flow.inputs.items() if one.has_default}
        self._ranges = session.flow.score_ranges
        self._secrets = [text for one in session.used_connections.values() for text in secret_values(one)]

    async def execute(self, line: Line, *, timeout_s: float | None = None) -> Execution:
        """Execute the flow on a line. Raises what its tool raises, FlowError for a score that is NaN or infinite."""
        result, row = line
        sources = {"run.outputs": result.outputs or {}, "data": row, "run.inputs": result.inputs}
        inputs = evaluation_inputs(self._mapping, sources, self._defaults)
        done = await self._session.exec_line(inputs, line_number=result.line_number, timeout_s=timeout_s)
        scores = read_scores(done.outputs, self._ranges)
        failures = {name: self.public(reason) for name, reason in _read_failures(done.outputs, scores).items()}
        return Execution(inputs, done, scores, failures)

    async def attempt(self, line: Line) -> Execution | Failure:
        """Execute the flow on a line; an error is described."""
        try:
            return await self.execute(line)
        except Exception as error:
            return describe_failure(error)

    def public(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _read_failures(outputs: Mapping[str, Any], scores: Mapping[str, float | None]) -> dict[str, str]:
    """Return why metrics that apply to the line have no score: the flow's output ``failures``, {metric: reason}."""
    failures = outputs.get("failures")
    if not isinstance(failures, Mapping):
        return {}
    return {name: str(reason) for name, reason in failures.items() if name in scores and scores[name] is None}
