"""A flow as a step of a pipeline, executed as promptflow's parallel component does, for jobs of an emulated Azure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job

_COLUMN = re.compile(r"\$\{data\.([^{}]+)\}")
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class FlowStep:
    """Makes the output of a step: its mini-batches, the last one first, without those of which a line failed.

    ``answer`` gives a line's outputs for its inputs, or raises; ``nested`` writes rows as newer images do; ``change``
    may spoil the rows.
    """

    azure: AzureEmulator
    answer: Answer
    nested: bool = False
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list

    def __call__(self, job: Job, output: str) -> Mapping[str, bytes]:
        if output != "flow_outputs":
            return {"meta.json": b"{}"}
        body = job.root.properties["jobs"][job.properties["displayName"]]
        size = int(body["mini_batch_size"])
        given = {name: each["value"] for name, each in body["inputs"].items() if name != "data"}
        lines = [json.loads(line) for line in self.azure.jobs.read_input(job, "data").splitlines()]
        rows = []
        for start in reversed(range(0, len(lines), size)):
            rows += self._mini_batch(given, list(enumerate(lines))[start : start + size])
        rows = [{"output": row} if self.nested else row for row in self.change(rows)]
        return {"parallel_run_step.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows).encode()}

    def _mini_batch(self, given: dict[str, str], lines: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
        rows = []
        for number, line in lines:
            found = {name: _COLUMN.fullmatch(value) for name, value in given.items()}
            inputs = {name: line[column[1]] if column else given[name] for name, column in found.items()}
            try:
                rows.append({**self.answer(inputs), "line_number": number})
            except Exception:
                return []
        return rows
