"""A folder with a run, a judge's flow that asks an endpoint once a line, and ``phi3flow score`` as a process in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.folders.answered_runs import make_run
from tests.support.folders.batch_project import CONNECTION, KEY, Ended
from tests.support.servers.fault_endpoint import FaultEndpoint

JUDGE = """
import aiohttp
from promptflow.connections import CustomConnection
from promptflow.core import tool

@tool
async def judge(answer: str, connection: CustomConnection) -> dict:
    headers = {"Authorization": f"Bearer {connection.key}"}
    body = {"input_data": {"input_string": [{"role": "user", "content": answer}], "parameters": {}}}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.post(connection.endpoint, json=body, headers=headers) as response:
            said = (await response.json())["output"]
    return {"stars": len(said), "reason": f"it said {said}", "pair": (len(said), said)}
"""
TOTAL = """
from promptflow.core import log_metric, tool

@tool
def total(verdicts: list) -> None:
    assert all(isinstance(verdict["pair"], tuple) for verdict in verdicts)
    log_metric("total", sum(verdict["stars"] for verdict in verdicts))
    log_metric("label", "excellent")
"""


class ScoringProject:
    """The folder. Answers are a0, a1 …; the judge says their echo."""

    def __init__(self, folder: Path, *, lines: int, total: str = TOTAL) -> None:
        self.folder = folder
        self.lines = lines
        self.answers: list[str | None] = [f"a{number}" for number in range(lines)]
        folder.mkdir(parents=True, exist_ok=True)
        self.run = make_run(
            folder / ".runs", "run", [{"question": f"q{number}"} for number in range(lines)], self.answers
        )
        self.flow = folder / "judge"
        self.flow.mkdir()
        (self.flow / "flow.dag.yaml").write_text(yaml.safe_dump(_DAG, sort_keys=False), encoding="utf-8")
        (self.flow / "judge.py").write_text(JUDGE, encoding="utf-8")
        (self.flow / "total.py").write_text(total, encoding="utf-8")
        (folder / "connections").mkdir()
        (folder / "connections" / "endpoint.yml").write_text(CONNECTION, encoding="utf-8")

    def start(self, endpoint: FaultEndpoint, *flags: object, **popen: Any) -> subprocess.Popen[str]:
        """Start the command; the same arguments again go on with the scoring."""
        command = [sys.executable, "-m", "phi3flow.cli.main", "score", "run", "--flow", "judge", "--json"]
        return subprocess.Popen(
            [*command, *map(str, flags)],
            cwd=self.folder,
            env={**os.environ, "ENDPOINT": endpoint.url, "KEY": KEY} | popen.pop("environment", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )

    def finish(self, endpoint: FaultEndpoint, *flags: object, **popen: Any) -> Ended:
        """Run the command to its end."""
        process = self.start(endpoint, *flags, **popen)
        stdout, stderr = process.communicate(timeout=600)
        return Ended(process.returncode, stdout, stderr, 0.0, 0.0)

    @property
    def executions(self) -> Path:
        """Where the executions are kept."""
        return max(
            (self.run.path / "scores" / "judge").glob("executions-*.jsonl"), key=lambda path: path.stat().st_mtime
        )

    @property
    def scored(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Every line's score, and the metrics, but for the judge's port."""
        metrics = self.run.metrics("judge").model_dump(exclude={"judging"})
        return [score.model_dump() for score in self.run.scores("judge")], metrics


_DAG: dict[str, Any] = {
    "inputs": {"answer": {"type": "string"}},
    "outputs": {
        "stars": {"type": "double", "reference": "${judge.output.stars}"},
        "reason": {"type": "string", "reference": "${judge.output.reason}"},
    },
    "tags": {"score_ranges": "stars 0..100"},
    "nodes": [
        {
            "name": "judge",
            "type": "python",
            "source": {"type": "code", "path": "judge.py"},
            "inputs": {"answer": "${inputs.answer}", "connection": "endpoint"},
        },
        {
            "name": "total",
            "type": "python",
            "source": {"type": "code", "path": "total.py"},
            "inputs": {"verdicts": "${judge.output}"},
            "aggregation": True,
        },
    ],
}
