"""The aggregation of a run's flow: executed once its lines are done, over those that completed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.errors import FlowError
from phi3flow.flows import ConnectionSource, Flow, FlowLine, open_flow
from phi3flow.flows.evaluation import input_defaults
from phi3flow.flows.numbers import as_number
from phi3flow.flows.observed import ObservedLine
from phi3flow.records.images import data_folder, located
from phi3flow.records.lines import LineError, LineResult
from phi3flow.runs.folder import RunFolder
from phi3flow.workers.beside import Beside, aggregation_log


@dataclass(frozen=True)
class Aggregated:
    """What an aggregation logged over so many ``lines``, why it failed, where it did, and what it printed."""

    lines: int
    metrics: dict[str, Any] = field(default_factory=dict)
    error: LineError | None = None
    beside: Beside = ()


def has_aggregation_node(flow: Flow) -> bool:
    """Whether a DAG flow sees all its lines at once. A flex flow's class has to be loaded to know."""
    return any(node.get("aggregation") for node in flow.definition.get("nodes") or ())


def aggregate(
    run: RunFolder, flow: Flow, *, connections: ConnectionSource, environment: Mapping[str, str]
) -> Aggregated:
    """Execute the aggregation over the run's completed lines, in a session of its own, in this process."""
    completed = [result for result in run.results() if result.status == "Completed"]
    if not completed:
        return Aggregated(0)
    with open_flow(flow, connections=connections, environment=environment) as session:
        redactor, observed = Redactor(session), ObservedLine()
        try:
            lines = _lines(run, completed)
            defaults = input_defaults(flow.inputs)
            folder = data_folder(Path(run.manifest.data))
            inputs = [{**defaults, **located(result.inputs, folder)} for result in completed]
            logged, raised = session.exec_aggregation(inputs, lines, observed)
            content = json.dumps({name: _plain(value) for name, value in logged.items()}, default=str)
            metrics = json.loads(redactor.json(content.encode()), parse_constant=str)
        except Exception as error:
            metrics, raised = {}, error
        failed = redactor.describe(raised).error if raised else None
        return Aggregated(len(completed), metrics, failed, aggregation_log(observed, redactor))


def _lines(run: RunFolder, completed: Sequence[LineResult]) -> list[FlowLine]:
    """Return what the lines left for the aggregation. Raises FlowError where one left nothing that could be kept."""
    kept = run.aggregation_inputs()
    lines = []
    for result in completed:
        inputs = kept.get(result.line_number)
        if inputs is None:
            reason = "is of a kind that no file can hold" if result.line_number in kept else "was not kept"
            raise FlowError(
                f"line {result.line_number}: what it gave for the aggregation {reason}; "
                "where an earlier version ran the line, --fresh runs it again"
            )
        lines.append(FlowLine(result.outputs or {}, inputs))
    return lines


def _plain(value: Any) -> Any:
    """Return a value as pf writes it; a number of another library as Python's."""
    number = None if isinstance(value, int | str) else as_number(value)
    return value if number is None else number
