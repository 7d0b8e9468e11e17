"""The lines of a run that are executed elsewhere: a file of their inputs, in which a line is known by its position.

What is sent are the flow's inputs, with their defaults, not the rows of the data: promptflow reads the file as a table,
in which a column that a row lacks would hold NaN, and what the flow does not need (the ground truth) stays here.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3flow.errors import ColumnMappingError
from phi3flow.flows import Flow, FlowInput
from phi3flow.runner.plan import PlannedRun
from phi3flow.runs.promptflow_runs import is_read_as_date
from phi3flow.storage.jsonl import encode_rows, file_sha256, parse_row
from phi3flow.workers.attempt import line_inputs


@dataclass(frozen=True)
class SentLines:
    """``numbers`` has the line_number at each position of the file; ``refused`` says why other lines are not in it."""

    path: Path
    numbers: array[int]
    refused: dict[int, str]
    mapping: dict[str, str]

    @classmethod
    def write(cls, path: Path, planned: PlannedRun, flow: Flow, is_completed: Callable[[int], bool]) -> SentLines:
        """Write the inputs of every line that is not completed."""
        numbers, refused = array("q"), dict[int, str]()
        with path.open("wb") as file:
            for line in planned.lines:
                if is_completed(line.number):
                    continue
                try:
                    inputs = line_inputs(planned.mapping, parse_row(line.row), None, flow)
                except ColumnMappingError as error:
                    refused[line.number] = str(error)
                    continue
                row = {_column(name): _value(name, declared, inputs) for name, declared in flow.inputs.items()}
                file.writelines(encode_rows([row]))
                numbers.append(line.number)
        return cls(path, numbers, refused, {name: f"${{data.{_column(name)}}}" for name in flow.inputs})

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return file_sha256(self.path)


def _value(name: str, declared: FlowInput, inputs: dict[str, Any]) -> Any:
    if name in inputs:
        return inputs[name]
    return declared.default if declared.has_default else []  # a chat history, which nothing else may lack


def _column(name: str) -> str:
    return f"input_{name}_value" if is_read_as_date(name) else name
