"""A run against a server that sends without end, or far too much, fails its lines and stays small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import write_lines
from tests.support.servers.hostile_server import ANSWERS, HostileServer

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "phi3flow", "batch-run", str(ROOT / "flows" / "chat_phi3")]
LINES = 64
MOST_MB = 300
KEY = "key-of-the-test-0123456789"
QUICK = ("a gzip bomb",)
ENOUGH_S = 20.0
"""Some servers never come to an answer: a run waits minutes for such an endpoint, and grows in the first seconds."""


@pytest.mark.parametrize("variant", ["phi3_endpoint", "phi3_openai"])
@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in ANSWERS])
def test_a_run_against_a_hostile_server_stays_small(tmp_path: Path, kind: str, variant: str) -> None:
    shutil.copytree(ROOT / "connections", tmp_path / "connections")
    write_lines(tmp_path / "lines.jsonl", ({"question": f"q{number}"} for number in range(LINES)))
    with HostileServer(kind) as server:
        pace = ("--concurrency", "64", "--timeout-s", "8", "--max-retries", "0")
        run = subprocess.Popen(
            [*COMMAND, "--variant", f"chat.{variant}", "--data", "lines.jsonl", "--name", "run", "--quiet", *pace],
            cwd=tmp_path,
            env={**os.environ, "PHI3_ENDPOINT": server.url, "PHI3_BASE_URL": server.url, "PHI3_KEY": KEY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak_mb = _peak_mb(run)
    assert peak_mb < MOST_MB
    results = RunFolder(tmp_path / ".runs" / "run").results()
    assert results
    if kind not in ("the largest answer", "a million lists", "half a million lists"):
        assert {result.status for result in results} == {"Failed"}
        assert max(len(str(result.error)) for result in results) < 2_000


def _peak_mb(run: subprocess.Popen[bytes]) -> float:
    """Return the most memory that a run and its processes had to themselves at a time; end it where it waits."""
    command, peak, began_s = psutil.Process(run.pid), 0, time.monotonic()
    while run.poll() is None:
        if time.monotonic() - began_s > ENOUGH_S:
            run.terminate()
            began_s = float("inf")
        try:
            processes = [command, *command.children(recursive=True)]
            peak = max(peak, sum(process.memory_full_info().uss for process in processes))
        except psutil.Error:
            continue
        time.sleep(0.03)
    return peak / 2**20
