"""Collects what says which metrics apply to the lines that failed, and never asks an endpoint for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phi3flow.flows import FlowSession
from phi3flow.flows.column_mapping import map_line
from phi3flow.flows.evaluation import AnsweredLine, asks_endpoint, empty_answer
from phi3flow.pacing.limits import Limits
from phi3flow.records.scores import LineScore
from phi3flow.scoring.failed_lines import Evidence, applies
from phi3flow.scoring.processes import Helper
from phi3flow.scoring.scorer import Scorer

_CONTROLS = 3  # lines of each metric with a score, and as many without


def collect_evidence(
    session: FlowSession,
    mapping: Mapping[str, Any],
    *,
    lines: Sequence[AnsweredLine],
    scores: Iterable[LineScore],
    limits: Limits,
    helpers: Sequence[Helper] = (),
) -> Evidence:
    """Return the evidence about the lines that failed, in the run or in scoring; nothing where none did.

    A flow that asks no endpoint is executed on them with an empty answer; its aggregation does not see that.
    """
    scores = list(scores)
    failed = {score.line_number for score in scores if score.status == "Failed"}
    if not failed:
        return Evidence()
    inputs = {line.result.line_number: _row_inputs(mapping, line) for line in lines}
    if asks_endpoint(session) or limits.rpm or limits.tpm:
        return Evidence(inputs=inputs)
    numbers = failed | _control_lines(scores)
    empty = [
        empty_answer(line.result, line.row, mapping, session.flow)
        for line in lines
        if line.result.line_number in numbers
    ]
    executed = asyncio.run(Scorer(session, mapping, limits=limits, helpers=helpers).score(empty))
    return Evidence({line.score.line_number: line.score for line in executed}, inputs)


def _control_lines(scores: Iterable[LineScore]) -> set[int]:
    """Return lines with an answer, on which an empty one shows whether it says what applies to a row."""
    kept: dict[tuple[str, bool], list[int]] = {}
    for score in scores:
        if score.status == "Completed":
            for name in score.scores:
                numbers = kept.setdefault((name, applies(score, name)), [])
                if len(numbers) < _CONTROLS:
                    numbers.append(score.line_number)
    return {number for numbers in kept.values() for number in numbers}


def _row_inputs(mapping: Mapping[str, Any], line: AnsweredLine) -> dict[str, Any]:
    return map_line(mapping, {"data": line.row, "run.inputs": line.result.inputs}, optional=mapping)
