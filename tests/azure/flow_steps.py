"""An emulated Azure in which flows can run, and a flow as a step of a pipeline, executed as in promptflow-parallel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job
from tests.azure.emulator.world import World
from tests.support.command_line import phi3flow

KEY = "key-of-the-endpoint-0123456789"
HOST = "phi3.eastus2.inference.ml.azure.com"

_COLUMN = re.compile(r"\$\{data\.([^{}]+)\}")
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def azure_with_connection(folder: Path, *, to: str) -> Iterator[AzureEmulator]:
    """Start a subscription in which everything is made, with the chat flow's connection where an engine looks."""
    with AzureEmulator(folder, World(operation_polls=0, poll_ms=1)) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in {**azure.environment, "PHI3_KEY": KEY}.items():
            patch.setenv(name, value)
        project = folder / "setup"
        project.mkdir()
        connect = ["connect", "phi3_endpoint", "--endpoint", f"https://{HOST}/score", "--to", to]
        for command in (["azure", "up", "--yes"], connect):
            done = phi3flow(*command, cwd=project)
            assert done.returncode == 0, done.stderr
        yield azure


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
