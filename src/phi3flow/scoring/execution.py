"""An evaluation flow's execution on a line, or why there is none; in this process, or in one that helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phi3flow.flows import Flow
from phi3flow.flows.evaluation import AnsweredLine, Evaluator, Execution
from phi3flow.pacing.failures import Failure, describe_failure


@dataclass(frozen=True)
class OpenEvaluation:
    """What a process that helps to score is told first: the flow to load, and whence its inputs come."""

    flow: Flow
    environment: dict[str, str]
    mapping: dict[str, Any]


async def attempt(evaluator: Evaluator, line: AnsweredLine) -> Execution | Failure:
    """Execute the flow on a line; an error is described."""
    try:
        return await evaluator.execute(line)
    except Exception as error:
        return describe_failure(error)
