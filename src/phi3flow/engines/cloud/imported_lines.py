"""Answers that were computed elsewhere, as the results of a run's lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from phi3flow.engines.cloud.place import LineAnswer
from phi3flow.engines.cloud.sent_lines import SentLines
from phi3flow.errors import BackendError
from phi3flow.flows import Flow
from phi3flow.records.lines import LineError, LineResult
from phi3flow.runner.plan import PlannedRun
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.workers.attempt import line_inputs


def import_lines(
    planned: PlannedRun, flow: Flow, sent: SentLines, answers: Iterable[LineAnswer], *, work: str
) -> Iterator[LineResult]:
    """Give the result of every line that was sent, and of those that were refused; ``work`` is who answers.

    A line without an answer Failed. Raises BackendError for an answer to a line that was not sent, or was answered
    before: then nobody can tell which line any answer belongs to.
    """
    answered = _by_position(answers, len(sent.numbers), work)
    positions = {number: position for position, number in enumerate(sent.numbers)}
    nothing = LineError(type="LineMissing", message=f"{work} gave no answer to this line; its log says why")
    for line in planned.lines:
        row = parse_row(line.row)
        own: dict[str, Any] = {"line_number": line.number, "line_id": line.line_id or line_id(row)}
        if line.number in sent.refused:
            error = LineError(type="ColumnMappingError", message=sent.refused[line.number])
            yield LineResult(**own, status="Failed", inputs=row, error=error, latency_ms=None)
        elif line.number in positions:
            inputs = line_inputs(planned.mapping, row, None, flow)
            yield _result(own, inputs, answered.get(positions[line.number]), nothing)


def _result(own: dict[str, Any], inputs: dict[str, Any], answer: LineAnswer | None, nothing: LineError) -> LineResult:
    if answer is None:
        return LineResult(**own, status="Failed", inputs=inputs, error=nothing, latency_ms=None)
    completed = answer.error is None and answer.outputs is not None
    return LineResult(
        **own,
        status="Completed" if completed else "Failed",
        inputs=inputs,
        outputs=answer.outputs if completed else None,
        error=None if completed else answer.error or nothing,
        latency_ms=answer.latency_ms,
        usage=answer.usage,
    )


def _by_position(answers: Iterable[LineAnswer], count: int, work: str) -> dict[int, LineAnswer]:
    by_position: dict[int, LineAnswer] = {}
    for answer in answers:
        if not 0 <= answer.position < count:
            raise BackendError(
                f"{work} answered line {answer.position}, but {count} lines were sent (from 0): its answers belong to "
                "other lines; --fresh runs all of them again"
            )
        if answer.position in by_position:
            raise BackendError(f"{work} answered line {answer.position} twice; --fresh runs all lines again")
        by_position[answer.position] = answer
    return by_position
