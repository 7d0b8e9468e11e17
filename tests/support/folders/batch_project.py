"""A folder with a flow, its connection and some lines, and ``phi3flow batch-run`` as a process in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ASYNC_CLIENT, write_flow, write_lines
from tests.support.servers.fault_endpoint import FaultEndpoint

KEY = "key-of-the-test-0123456789"
CONNECTION = "name: endpoint\ntype: custom\nconfigs:\n  endpoint: ${env:ENDPOINT}\nsecrets:\n  key: ${env:KEY}\n"


@dataclass(frozen=True)
class Ended:
    """A command that has ended. ``seconds`` from its start; ``lag_s`` from the last line that it kept to its end."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    lag_s: float

    @cached_property
    def counts(self) -> dict[str, int]:
        """What --json says of the lines."""
        return json.loads(self.stdout)["counts"]  # type: ignore[no-any-return]


class BatchProject:
    """The folder. Lines are questions q0, q1 …; the command's run is .runs/run, or lies under ``runs_dir``.

    ``port`` is for tests to remember which endpoint's a run began with.
    """

    def __init__(self, folder: Path, *, lines: int, code: str = ASYNC_CLIENT) -> None:
        self.folder = folder
        self.lines = lines
        self.port = 0
        self.runs_dir = folder / ".runs"
        self.flow = write_flow(folder / "flow", code, connection="endpoint")
        self.data = write_lines(folder / "lines.jsonl", ({"question": f"q{number}"} for number in range(lines)))
        (folder / "connections").mkdir()
        (folder / "connections" / "endpoint.yml").write_text(CONNECTION, encoding="utf-8")

    def start(self, endpoint: FaultEndpoint, *flags: object, **popen: Any) -> subprocess.Popen[str]:
        """Start the command; the same arguments again go on with the run."""
        command = [sys.executable, "-m", "phi3flow.cli.main", "batch-run", "flow", "--data", "lines.jsonl", "--json"]
        return subprocess.Popen(
            [*command, "--name", "run", "--runs-dir", str(self.runs_dir), *map(str, flags)],
            cwd=self.folder,
            env={**os.environ, "ENDPOINT": endpoint.url, "KEY": KEY} | popen.pop("environment", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )

    def finish(self, endpoint: FaultEndpoint, *flags: object, **popen: Any) -> Ended:
        """Run the command to its end."""
        started = time.time()
        process = self.start(endpoint, *flags, **popen)
        stdout, stderr = process.communicate(timeout=600)
        ended = time.time()
        kept = self.results_file.stat().st_mtime if self.results_file.exists() else started
        return Ended(process.returncode, stdout, stderr, ended - started, ended - kept)

    @property
    def run(self) -> RunFolder:
        """The run as it stands on disk."""
        return RunFolder(self.runs_dir / "run")

    @property
    def results_file(self) -> Path:
        """Where results are appended."""
        return self.runs_dir / "run" / "results.jsonl"

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """Every line's last result, but for how long it took."""
        return [result.model_dump(exclude={"latency_ms"}) for result in self.run.results()]

    @property
    def unanswered(self) -> list[int]:
        """The lines that have not got the endpoint's own answer, exactly once."""
        kept = [json.loads(line) for line in self.results_file.read_text(encoding="utf-8").splitlines()]
        completed = [(line["line_number"], line["outputs"]) for line in kept if line["status"] == "Completed"]
        return [n for n in range(self.lines) if completed.count((n, {"answer": f"echo: q{n}"})) != 1]


def wait_until(condition: Callable[[], bool], *, every_s: float = 0.01) -> None:
    """Return once ``condition`` holds. Raises AssertionError after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(every_s)
